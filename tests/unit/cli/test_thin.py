"""``pagethrift thin``: standard input to standard output, and the counters."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pagethrift.cli.thin import thin
from pagethrift.errors import StreamError, UsageError
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import TAIL, StreamBuilder
from tests.documents import ROOT

FULL = bytes(range(256)) * 16


def stream() -> bytes:
    """Send a page, the same again, and one that is nearly zero."""
    builder = StreamBuilder([("pc.ram", 4)])
    for last in (False, True):
        builder.begin_body(last)
        builder.page(0, 0, FULL)
        builder.page(0, 1 + last, b"x" + bytes(PAGE_BYTES - 1))
        builder.end_body()
    return builder.finish()


def through(folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, **options: object) -> Path:
    """Run it with files as standard input and output; return the output's path."""
    (folder / "in").write_bytes(data)
    with (folder / "in").open("rb") as source, (folder / "out").open("wb") as target:
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stdout", target)
        thin(**options)  # type: ignore[arg-type]
    return folder / "out"


def test_fewer_bytes_leave_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thinned = through(tmp_path, monkeypatch, stream()).read_bytes()
    assert len(thinned) < len(stream()) / 2
    assert thinned.endswith(TAIL)
    assert np.array_equal(image(thinned).memory, image(stream()).memory)


def test_counters_are_written_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = tmp_path / "stats.json"
    thinned = through(tmp_path, monkeypatch, stream(), strategy="pagethrift", stats=stats).read_bytes()
    found = json.loads(stats.read_text())
    assert found.pop("elapsed_s") > 0
    assert (found.pop("in_bytes"), found.pop("out_bytes")) == (len(stream()), len(thinned))
    assert found.pop("first_round_bytes") > PAGE_BYTES
    assert found == {
        "strategy": "pagethrift", "pages_in": 4, "retransferred_pages": 1, "retransferred_bytes": 0,
        "skip_pages": 1, "zero_pages": 0, "full_pages": 1, "delta_pages": 0, "sparse_pages": 2,
        "from_zero_pages": 0, "hold_pages": 0, "channel_pages": 0, "source_delta_pages": 0,
    }  # fmt: skip


def test_the_strategy_asked_for_thins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through(tmp_path, monkeypatch, stream(), strategy="kvm-default").read_bytes() == stream()
    with pytest.raises(UsageError, match="no parameter 'x'"):
        through(tmp_path, monkeypatch, stream(), strategy="kvm-default", param=["x=1"])


def test_what_came_before_a_fault_is_forwarded_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats, cut = tmp_path / "stats.json", stream().index(TAIL) - 5
    with pytest.raises(StreamError):
        through(tmp_path, monkeypatch, stream()[:cut], stats=stats)
    assert json.loads(stats.read_text())["pages_in"] == 4
    assert FULL in (tmp_path / "out").read_bytes()


def test_a_place_for_the_counters_is_looked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"--stats .*absent"):
        through(tmp_path, monkeypatch, stream(), stats=tmp_path / "absent" / "stats.json")
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.slow
def test_through_pipes_and_a_cut_stream_ends_with_3(tmp_path: Path) -> None:
    golden = lzma.decompress((ROOT / "tests/golden/qemu-10.0-pc.xz").read_bytes())
    command = [sys.executable, "-m", "pagethrift", "thin"]
    done = subprocess.run(command, input=golden, capture_output=True, timeout=60, check=True)
    assert np.array_equal(image(done.stdout).memory, image(golden).memory)
    broken = subprocess.run(command, input=golden[:200_000], capture_output=True, timeout=60, check=False)
    assert broken.returncode == 3
    assert broken.stderr.startswith(b"pagethrift: stream byte 200000: ")
    assert len(broken.stderr.splitlines()) == 1
