"""Outputs: asked about before the work, written whole or not at all, pipes and links left what they are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.whole_file import check_folder, check_output, whole_file, write_text


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_what_takes_a_files_place_takes_no_pipes_or_devices(pipe: Path) -> None:
    for path in (pipe, Path("/dev/null"), Path("/dev/full")):
        with pytest.raises(UsageError, match=r"^--out .*: is a pipe, a socket or a device"):
            check_output(path, "--out")
        with pytest.raises(OSError, match="not a regular file"), whole_file(path):
            pass
    assert pipe.is_fifo()


def test_a_text_goes_through_a_pipe(pipe: Path) -> None:
    assert check_output(pipe, "--out", stream=True) == pipe
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "result\n")
    reader.join(10)
    assert read == ["result\n"]
    assert pipe.is_fifo()


def test_a_text_goes_to_a_descriptor_that_has_no_name() -> None:
    """Such as bash's >(cat), and /dev/stdout before a pipe."""
    reading, writing = os.pipe()
    path = Path(f"/dev/fd/{writing}")
    check_output(path, "--out", stream=True)
    write_text(path, "result\n")
    os.close(writing)
    assert os.read(reading, 100) == b"result\n"
    os.close(reading)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "away/real.json")
    assert check_output(link, "--out") == tmp_path / "away/real.json"
    for text in ("first", "second"):
        write_text(link, text)
        assert (tmp_path / "away/real.json").read_text() == text
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.rglob("*.part")) == []


def test_what_cannot_be_written_is_said_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "none/r.json", tmp_path / "file/r.json", tmp_path / ("x" * 252),
                 tmp_path / "a\0b", tmp_path / "loop", Path("/proc/r.json")):  # fmt: skip
        with pytest.raises(UsageError, match=r"^--out "):
            check_output(path, "--out", stream=True)


def test_what_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path) as draft:
            draft.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["r.json"]
    assert path.read_text() == "old"


def test_a_folder_may_be_made_later_but_nothing_may_stand_in_its_place(tmp_path: Path, pipe: Path) -> None:
    for path in (tmp_path, tmp_path / "new", tmp_path / "new/deeper"):
        assert check_folder(path, "--out") == path
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for path in (
        tmp_path / "file",
        tmp_path / "file/x",
        pipe,
        tmp_path / "dangling",
        tmp_path / "a\0b",
        Path("/proc/x"),
    ):
        with pytest.raises(UsageError, match=r"^--out "):
            check_folder(path, "--out")
