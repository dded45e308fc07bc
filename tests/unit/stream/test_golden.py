"""Streams of real QEMUs: parsed to the end, to the RAM the source had, and thinned to the same."""

from __future__ import annotations

import hashlib
import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pagethrift.engine.thin import thin
from pagethrift.model.methods import Method
from pagethrift.model.pages import Kind
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from pagethrift.stream.events import Pages
from pagethrift.stream.image import Image, image
from pagethrift.stream.reader import StreamReader
from tests.streams import before, chaos, thin_in_pieces

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
XBZRLE = [name for name in NAMES if "xbzrle" in name]
PLAIN = [name for name in NAMES if "xbzrle" not in name]
HOLE = slice(0xA0000, 0x100000)
"""VGA and BIOS window: no plain RAM in the dump the digests were made of"""


@cache
def capture(name: str) -> tuple[bytes, dict[str, Any]]:
    return lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()), json.loads(
        (GOLDEN / f"{name}.json").read_text()
    )


def digests(result: Image) -> dict[str, str]:
    ram = result.block("pc.ram").tobytes()
    return {
        "ram_low_sha256": hashlib.sha256(ram[: HOLE.start]).hexdigest(),
        "ram_high_sha256": hashlib.sha256(ram[HOLE.stop :]).hexdigest(),
    }


def test_there_are_captures_of_the_oldest_and_newest_series() -> None:
    assert {capture(name)[1]["series"] for name in NAMES} >= {"7.2", "11.1"}
    assert XBZRLE
    assert len(PLAIN) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_the_image_is_the_ram_of_the_source(name: str) -> None:
    stream, facts = capture(name)
    result = image(stream)
    assert result.table is not None
    assert result.table.blocks[0].used_bytes == facts["ram_bytes"]
    assert digests(result) == {key: facts[key] for key in digests(result)}
    assert result.ram_over


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_is_unaccounted(name: str) -> None:
    """QEMU's own record counts, and device state that begins with a section and ends in JSON."""
    stream, facts = capture(name)
    reader = StreamReader()
    kinds = dict.fromkeys(Kind, 0)
    for chunk in (stream, b""):
        for event in reader.feed(chunk):
            if isinstance(event, Pages):
                for kind in event.batch.kind.tolist():
                    kinds[Kind(kind)] += 1
    assert (kinds[Kind.PAGE], kinds[Kind.ZERO]) == (facts["non_zero_records"], facts["zero_records"])
    # QEMU counts pages its cache found unchanged as well; those are not sent.
    assert (kinds[Kind.XBZRLE] > 0) == (facts["xbzrle_records"] > 0)
    assert kinds[Kind.XBZRLE] <= facts["xbzrle_records"]
    tail = bytes(image(stream).tail)
    assert tail[0] in (1, 3, 4)
    assert json.loads(tail[tail.rindex(b"\x00\x06") + 6 :])["page_size"] == 4096


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strategy", TABLE)
def test_thinning_keeps_the_image(name: str, strategy: str) -> None:
    stream, _ = capture(name)
    thinned = thin(stream, TABLE[strategy](), bytes(range(32)))
    expected, got = image(stream, before), image(thinned, before)
    assert (expected.memory == got.memory).all()
    assert expected.tail == got.tail
    assert len(thinned) <= len(stream)
    if strategy == "pagethrift" and name in PLAIN:
        assert len(thinned) < len(stream) / 5


@pytest.mark.parametrize("name", NAMES)
def test_the_writer_flags_continue_as_qemu_does(name: str) -> None:
    stream, _ = capture(name)
    assert thin(stream, TABLE["kvm-default"](), bytes(32)) == stream


@pytest.mark.parametrize("name", NAMES)
def test_chaos_keeps_the_image(name: str) -> None:
    stream, _ = capture(name)
    thinned, _ = thin_in_pieces(stream, chaos(7), 7, hold_pages=100)
    assert (image(stream, before).memory == image(thinned, before).memory).all()


@pytest.mark.parametrize("signing", Signing)
@pytest.mark.parametrize("name", XBZRLE)
def test_xbzrle_of_the_source_goes_on_as_it_came(name: str, signing: Signing) -> None:
    stream, _ = capture(name)
    came = sum(
        int((event.batch.kind == Kind.XBZRLE).sum())
        for event in StreamReader().feed(stream)
        if isinstance(event, Pages)
    )
    thinned, thinner = thin_in_pieces(stream, chaos(3, signing), 3, hold_pages=100)
    assert (image(stream, before).memory == image(thinned, before).memory).all()
    assert thinner.counters.by_method[Method.SOURCE_DELTA] == came > 0


@pytest.mark.parametrize("name", [name for name in NAMES if "bitmap" in name])
def test_dirty_bitmaps_pass_through(name: str) -> None:
    stream, _ = capture(name)
    thinned = thin(stream, TABLE["pagethrift"](), bytes(32))
    assert thinned.count(b"dirty-bitmap") == stream.count(b"dirty-bitmap")


@pytest.mark.parametrize("chunk", [1, 4099])
def test_the_smallest_capture_in_pieces(chunk: int) -> None:
    """The first 60 kB and every later page boundary, byte by byte."""
    stream, facts = capture("qemu-10.0-q35")
    single = Image()
    near = 60_000 if chunk == 1 else len(stream)
    for i in range(0, near, chunk):
        single.feed(stream[i : min(near, i + chunk)])
    single.feed(stream[near:])
    single.feed(b"")
    assert digests(single) == {key: facts[key] for key in digests(single)}
