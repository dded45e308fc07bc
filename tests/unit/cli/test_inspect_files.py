"""``pagethrift inspect``: what is shown of whole, of broken and of no streams."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagethrift.cli.inspect import app
from pagethrift.errors import PagethriftError, StreamError, UsageError
from tests.unit.stream.pieces import TAIL, be64, page, part, start, whole

PBS = start(b"pbs-state", 9, be64(32) + bytes(range(32)))
STREAM = whole(then=PBS + part(page(3), page(4)))


def inspected(path: Path, *options: str) -> tuple[str, PagethriftError | None]:
    result = CliRunner().invoke(app, [str(path), *options])
    error = result.exception
    assert error is None or isinstance(error, PagethriftError)
    return result.output, error


def test_blocks_pages_and_sections_beside_ram(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(STREAM)
    said, error = inspected(path, "--json")
    assert error is None
    summary = json.loads(said)
    assert (summary["bytes"], summary["tail_bytes"]) == (len(STREAM), len(TAIL))
    assert summary["other_sections"] == {"pbs-state": len(PBS)}
    assert [(block["name"], block["page"], block["again"]) for block in summary["blocks"]] == [
        ("pc.ram", 3, 1), ("pc.bios", 0, 0),
    ]  # fmt: skip
    assert f"beside RAM: pbs-state, {len(PBS)} B" in inspected(path)[0]


def test_what_comes_before_the_error_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for broken in (STREAM[: STREAM.index(page(4))], STREAM.replace(page(4), be64(4 * 4096 | 0x400))):
        path.write_bytes(broken)
        said, error = inspected(path)
        assert "pc.bios" in said
        assert "pbs-state" in said
        assert isinstance(error, StreamError)


def test_what_is_no_stream_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"QFI\xfb\0\0\0\x03")
    said, error = inspected(path)
    assert said == ""
    assert "got a disk image (qcow2)" in str(error)


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        for path, words in (
            ("s", "is a socket"),
            (".", "is a folder"),
            ("none", "cannot read none: No such"),
        ):
            error = inspected(Path(path))[1]
            assert isinstance(error, UsageError)
            assert words in str(error)
    os.unlink("s")
