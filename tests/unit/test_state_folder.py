"""The folders of state: one's own, a service's, and for root everybody's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pagethrift import state_folder as module
from pagethrift.state_folder import socket_folder, socket_folders, state_folder


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "ROOTS", tmp_path / "run")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return tmp_path


def as_user(monkeypatch: pytest.MonkeyPatch, user_id: int) -> None:
    """Let this process and what it makes be another user's."""
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        fields = list(real(path))
        fields[4] = user_id
        return os.stat_result(fields)

    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    monkeypatch.setattr(Path, "lstat", lstat)


def test_where_a_users_state_is(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 4711)
    assert state_folder() == places / "tmp/pagethrift-4711"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(places))
    assert state_folder() == places / "pagethrift" == socket_folder()
    service = places / "service"
    service.mkdir(mode=0o710)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{service}:/run/other")
    assert socket_folder() == service, "systemd's folder of a service"
    assert state_folder() == places / "pagethrift", "which goes when the service ends"
    assert {folder for folder, _ in socket_folders()} == {service, places / "pagethrift"}


def test_a_folder_that_others_may_write_to_is_not_used(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 4711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(places))
    (places / "pagethrift").mkdir()
    (places / "pagethrift").chmod(0o777)
    assert state_folder() is None
    assert socket_folder() is None
    assert list(socket_folders()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root looks into all users' folders")
def test_root_sees_the_folders_of_all_users_and_follows_no_link(places: Path) -> None:
    (places / "run/service").mkdir(parents=True)
    theirs = places / "tmp/pagethrift-4711"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 4711, -1)
    (places / "tmp/pagethrift-4712").symlink_to(theirs)
    (places / "tmp/pagethrift-cafe").mkdir()
    open_to_all = places / "tmp/pagethrift-4713"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    found = {folder: owner for folder, owner in socket_folders() if folder.is_relative_to(places)}
    assert found == {places / "run": 0, places / "run/service": 0, theirs: 4711}
