"""Outputs are asked for beforehand, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.whole_file import check_output, whole_file, write_text


def test_what_can_be_written(tmp_path: Path) -> None:
    assert check_output(tmp_path / "new", "--out") == tmp_path / "new"
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    assert check_output(tmp_path / "link", "--out") == tmp_path / "old"
    assert (tmp_path / "old").read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "old"]


def test_what_cannot_is_named_on_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, why in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe, a socket or a device"),
        (tmp_path / "none" / "file", "there is no folder"),
        (tmp_path / ("n" * 300), "name"),
        (tmp_path / "loop", ""),
        (Path("/proc/none"), ""),
        (Path("a\0b"), ""),
    ):
        with pytest.raises(UsageError) as caught:
            check_output(path, "--out")
        assert str(caught.value).startswith("--out ")
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)
    assert check_output(tmp_path / "pipe", "--out", stream=True) == tmp_path / "pipe"


def test_a_draft_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"

    def half() -> None:
        with whole_file(path) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_links_stay_links_and_pipes_stay_pipes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"), whole_file(tmp_path / "pipe"):
        pass
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "said")
    assert os.read(reader, 10) == b"said"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_leaves_the_old_file() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_text(Path("/dev/full"), "x" * 100_000)
