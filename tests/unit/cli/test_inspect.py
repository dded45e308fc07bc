"""``pagethrift inspect``: what it counts in a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pagethrift.cli.inspect import app
from pagethrift.engine.thin import thin
from pagethrift.errors import StreamError, UsageError
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.table import strategy
from pagethrift.stream.synthetic import TAIL, StreamBuilder

FULL = bytes(range(256)) * 16
DELTA = b"\x00\x01x"


def inspected(folder: Path, stream: bytes) -> dict[str, Any]:
    path = folder / "guest.stream"
    path.write_bytes(stream)
    done = CliRunner().invoke(app, [str(path), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stream() -> bytes:
    """Two blocks: one page sent three times, another twice, one page never."""
    builder = StreamBuilder([("pc.ram", 4), ("pc.bios", 2)])
    builder.begin_body()
    for block, page, content in ((0, 0, FULL), (0, 1, b""), (0, 2, FULL), (1, 0, FULL), (1, 1, b"")):
        builder.page(block, page, content)
    builder.end_body()
    builder.begin_body()
    builder.delta(0, 0, DELTA)
    builder.page(0, 1, FULL)
    builder.end_body()
    builder.begin_body(last=True)
    builder.delta(0, 0, DELTA)
    builder.end_body()
    return builder.finish()


def test_records_are_counted_by_block_and_kind(tmp_path: Path) -> None:
    whole = stream()
    assert inspected(tmp_path, whole) == {
        "bytes": len(whole), "sections": 4, "tail_bytes": len(TAIL), "other_sections": {},
        "blocks": [
            {"name": "pc.ram", "bytes": 4 * PAGE_BYTES, "zero": 1, "page": 3, "xbzrle": 2, "again": 3},
            {"name": "pc.bios", "bytes": 2 * PAGE_BYTES, "zero": 1, "page": 1, "xbzrle": 0, "again": 0},
        ],
    }  # fmt: skip


def test_people_see_a_row_for_each_block(tmp_path: Path) -> None:
    path = tmp_path / "guest.stream"
    path.write_bytes(stream())
    lines = CliRunner().invoke(app, [str(path)], catch_exceptions=False).stdout.splitlines()
    assert "4 RAM sections" in lines[0]
    assert [line.split() for line in lines[2:]] == [
        ["pc.ram", "16.4", "kB", "1", "3", "2", "3"], ["pc.bios", "8.19", "kB", "1", "1", "0", "0"],
    ]  # fmt: skip


def test_a_page_sent_as_zero_and_a_delta_is_sent_once(tmp_path: Path) -> None:
    builder = StreamBuilder([("pc.ram", 4)])
    builder.begin_body(last=True)
    for page in range(3):
        builder.page(0, page, b"x" + bytes(PAGE_BYTES - 1))
    builder.end_body()
    (thinned,) = inspected(tmp_path, thin(builder.finish(), strategy("pagethrift"), bytes(32)))["blocks"]
    assert (thinned["zero"], thinned["xbzrle"], thinned["page"]) == (3, 3, 0)
    assert thinned["again"] == 0


def test_a_zero_page_changed_in_the_next_section_is_sent_again(tmp_path: Path) -> None:
    builder = StreamBuilder([("pc.ram", 1)])
    for last in (False, True):
        builder.begin_body(last)
        if last:
            builder.delta(0, 0, DELTA)
        else:
            builder.page(0, 0, b"")
        builder.end_body()
    (block,) = inspected(tmp_path, builder.finish())["blocks"]
    assert block["again"] == 1


def test_what_is_no_whole_stream(tmp_path: Path) -> None:
    whole = stream()
    for broken in (b"", whole[:50], whole[: whole.index(TAIL)][:-1], b"no stream at all"):
        with pytest.raises(StreamError, match="stream byte"):
            inspected(tmp_path, broken)
    with pytest.raises(UsageError, match=r"cannot read .*absent: No such file"):
        CliRunner().invoke(app, [str(tmp_path / "absent")], catch_exceptions=False)
