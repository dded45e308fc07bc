"""The golden captures are whole, and real destinations still load them to the recorded RAM."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.qemu.capture import CAPTURES, GOLDEN, Capture, ram_digests, read, replay
from tests.qemu.machines import SERIES, find_qemu


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
def test_capture_is_whole(capture: Capture) -> None:
    stream, facts = read(capture.name)
    assert len(stream) == facts["stream_bytes"]
    assert hashlib.sha256(stream).hexdigest() == facts["stream_sha256"]
    assert facts["rounds"] >= 4
    assert (facts["xbzrle_records"] > 0) == ("xbzrle" in capture.capabilities)
    assert (b"dirty-bitmap" in stream) == ("dirty-bitmaps" in capture.capabilities)


def test_captures_stay_small() -> None:
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 380_000


@pytest.mark.parametrize(
    "capture", [each for each in CAPTURES if each.series in SERIES], ids=lambda capture: capture.name
)
def test_destination_loads_the_capture(capture: Capture, short_path: Path) -> None:
    binary = find_qemu(capture.series)
    if binary is None:
        pytest.skip(f"no QEMU {capture.series} here: pagethrift lab doctor says how to get one")
    stream, facts = read(capture.name)
    expected = {name: facts[name] for name in ram_digests(b"")}
    assert replay(stream, facts, binary, short_path) == expected
