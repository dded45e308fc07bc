"""The shared disk: what the check finds in images made by hand."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import machine
from pagethrift.lab.guest.disk import check_disk, disk_program, make_disk
from pagethrift.model.run_result import DiskCheck

MIB = 2**20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    for name in ("mkfs.ext4", "fsck.ext4", "debugfs"):
        try:
            disk_program(name)
        except LabError as error:
            pytest.skip(str(error))
    try:
        make_disk(tmp_path / "disk.img", 16 * MIB)
    except LabError as error:
        if "O_DIRECT" not in str(error):
            raise
        pytest.skip(str(error))
    return tmp_path / "disk.img"


def debugfs(image: Path, command: str) -> None:
    done = subprocess.run(
        [disk_program("debugfs"), "-w", "-R", command, str(image)], capture_output=True, check=True
    )
    assert b"No such file" not in done.stderr


def add(image: Path, slot: int, content: bytes, name: str = "") -> None:
    draft = image.parent / "draft"
    draft.write_bytes(content)
    debugfs(image, f"write {draft} {slot}-{name or hashlib.sha256(content).hexdigest()}")


def test_a_new_disk_has_its_size_and_is_clean_and_empty(image: Path, tmp_path: Path) -> None:
    assert image.stat().st_size == 16 * MIB
    assert image.stat().st_mode & 0o777 == 0o600
    assert check_disk(image, tmp_path, 0, 0) == DiskCheck(True, 0, 0, 0, 0)


def test_right_wrong_and_missing_files_are_counted(image: Path, tmp_path: Path) -> None:
    for slot in range(5):
        add(image, slot, bytes([slot]) * 65536)
    assert check_disk(image, tmp_path, 5, 77) == DiskCheck(True, 5, 0, 5, 77)
    add(image, 5, b"changed", hashlib.sha256(b"as it was").hexdigest())
    assert check_disk(image, tmp_path, 8, 0) == DiskCheck(True, 6, 1 + 2, 8, 0)
    assert not (tmp_path / "disk-files").exists()


def test_old_files_that_were_replaced_are_not_missing(image: Path, tmp_path: Path) -> None:
    for slot in range(3):
        add(image, slot, b"new")
    found = check_disk(image, tmp_path, machine.DISK_SLOTS + 3, 0)
    assert found.files_wrong == machine.DISK_SLOTS - 3


def test_a_damaged_file_system_is_found(image: Path, tmp_path: Path) -> None:
    add(image, 0, b"content")
    # A free block that the directory says is in use: what a lost write of the bitmap leaves.
    debugfs(image, "freei <12>")
    assert not check_disk(image, tmp_path, 1, 0).fsck_clean


@pytest.mark.parametrize(
    ("check", "sound"),
    [
        (DiskCheck(True, 3, 0, 3, 0), True),
        (DiskCheck(False, 3, 0, 3, 0), False),
        (DiskCheck(True, 3, 1, 3, 0), False),
        (DiskCheck(True, 0, 0, 0, 0), False),
    ],
)
def test_sound_is_a_clean_disk_with_right_files(check: DiskCheck, sound: bool) -> None:
    assert check.sound == sound


def test_a_disk_that_exists_is_not_overwritten(image: Path) -> None:
    with pytest.raises(LabError, match="File exists"):
        make_disk(image, MIB)


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pagethrift.lab.guest.disk.shutil.which", lambda name, path=None: None)
    with pytest.raises(LabError, match=r"needs mkfs.ext4.*e2fsprogs"):
        make_disk(tmp_path / "x", MIB)
    assert not (tmp_path / "x").exists()


def test_a_guest_without_a_disk_is_not_told_of_one() -> None:
    assert "pt.disk" not in machine.kernel_command_line(machine.GuestSpec())
    words = machine.kernel_command_line(machine.GuestSpec(disk_bytes=MIB)).split()
    assert f"pt.disk={machine.DISK_PORT},{machine.DISK_SLOTS}" in words
