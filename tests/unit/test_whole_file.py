"""Files that are written whole or not at all, and places that are asked first."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.whole_file import NAME_MAX, check_output, whole_file, write_text


def test_a_place_for_a_file_is_found_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("target")
    assert check_output(tmp_path / "new", "--out") == tmp_path / "new"
    assert check_output(tmp_path / "old", "--out") == tmp_path / "old"
    assert check_output(tmp_path / "link", "--out") == tmp_path / "target"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]
    assert (tmp_path / "old").read_text() == "old"


def test_names_up_to_the_longest(tmp_path: Path) -> None:
    room = NAME_MAX - len(".part")
    with whole_file(check_output(tmp_path / ("x" * room), "--out")) as draft:
        draft.write_text("whole")
    with pytest.raises(UsageError, match=r"^--out .*: the file's name is too long$"):
        check_output(tmp_path / ("x" * (room + 1)), "--out")
    with pytest.raises(UsageError, match="too long"):
        check_output(tmp_path / ("é" * (room // 2 + 1)), "--out")


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent" / "file", "there is no folder"),
        (tmp_path / "file" / "deeper", "there is no folder|Not a directory"),
        (tmp_path / "loop", "loop|Too many levels"),
        (Path("/proc/file"), "cannot be written|No such file"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            check_output(path, "--result")
        assert str(caught.value).startswith(f"--result {path}: ")


def test_a_device_will_do_for_a_stream_only() -> None:
    assert check_output(Path("/dev/null"), "--log", stream=True) == Path("/dev/null")
    with pytest.raises(UsageError, match="name a regular file"):
        check_output(Path("/dev/null"), "--log")


def fail_halfway(path: Path) -> None:
    with whole_file(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError


def test_a_draft_takes_the_files_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail_halfway(path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    with whole_file(path) as draft:
        draft.write_text("whole")
        assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "whole"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "whole")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "whole"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"), whole_file(pipe):
        pass
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "whole")
    reader.join(10)
    assert read == ["whole"]
    assert pipe.is_fifo()
