"""Folders of runs: gone at the end, swept after a crash."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from pagethrift.lab.hosts.run_folder import run_folder, sweep_folders


@pytest.fixture(autouse=True)
def _own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_is_private_and_goes(tmp_path: Path) -> None:
    with run_folder() as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "key").write_text("secret")
    assert not list(tmp_path.iterdir())


def test_the_sweep_takes_the_dead_and_spares_all_others(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = (f"ptl-{dead.pid}-abc", f"ptl-{os.getpid()}-abc", "ptl-x-abc", f"other-{dead.pid}-abc")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text("secret")
    sweep_folders()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_a_link_of_that_name_is_not_followed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    (tmp_path / f"ptl-{dead.pid}-abc").symlink_to(tmp_path / "mine")
    sweep_folders()
    assert (tmp_path / "mine" / "file").exists()
