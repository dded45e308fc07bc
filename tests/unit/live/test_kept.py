"""What outlives a killed pagethrift, and who may work with a QEMU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live import kept as module
from pagethrift.live.host import QemuProcess
from pagethrift.live.kept import claimed, forget, keep, kept, state_folder

QEMU = QemuProcess(4321, "99")
PARAMETERS = {"downtime-limit": 300, "tls-creds": "", "x": 0.5, "y": True}
CAPABILITIES = {"events": False, "xbzrle": True}


def monitor(process: QemuProcess | None = QEMU) -> Any:
    return SimpleNamespace(process=process, role="source", path="vm.qmp")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "state_folder", lambda: tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_operators_values_are_read_back_until_they_are_forgotten(folder: Path) -> None:
    assert kept(QEMU) is None
    keep(QEMU, PARAMETERS, CAPABILITIES)
    assert names(folder) == ["4321-99.settings.json"]
    assert kept(QEMU) == (PARAMETERS, CAPABILITIES)
    assert kept(QemuProcess(4321, "100")) is None, "a later process of the same number"
    keep(QEMU, {}, {})
    assert kept(QEMU) == ({}, {})
    forget(QEMU)
    forget(QEMU)
    assert (kept(QEMU), names(folder)) == (None, [])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data | {"version": 2},
        lambda data: data | {"schema": "other"},
        lambda data: data | {"parameters": {"x": [1]}},
        lambda data: data | {"parameters": {"x": None}},
        lambda data: data | {"parameters": 5},
        lambda data: data | {"capabilities": {"events": 1}},
        lambda data: {name: value for name, value in data.items() if name != "capabilities"},
        lambda data: [data],
        lambda data: data | {"parameters": {"x": "y" * (64 << 10)}},
    ],
)
def test_what_cannot_be_trusted_is_as_if_nothing_were_kept(
    folder: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    keep(QEMU, PARAMETERS, CAPABILITIES)
    (path,) = folder.iterdir()
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert kept(QEMU) is None


def test_without_a_place_or_a_process_work_goes_on(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for process, place in ((None, folder), (QEMU, None), (QEMU, folder / "absent")):
        monkeypatch.setattr(module, "state_folder", lambda place=place: place)
        keep(process, PARAMETERS, CAPABILITIES)
        assert kept(process) is None
        forget(process)
    for process, place in ((None, folder), (QEMU, None)):
        monkeypatch.setattr(module, "state_folder", lambda place=place: place)
        with claimed(monitor(process)), claimed(monitor(process)):
            pass
    assert names(folder) == []


def test_one_pagethrift_a_qemu(folder: Path) -> None:
    with claimed(monitor()):
        taken = pytest.raises(QmpError, match=r"^source vm\.qmp: another pagethrift works with this QEMU")
        with taken, claimed(monitor()):
            pass
        with claimed(monitor(QemuProcess(5, "1"))):
            assert len(names(folder)) == 2
    assert names(folder) == []
    with pytest.raises(ZeroDivisionError), claimed(monitor()):
        raise ZeroDivisionError
    with claimed(monitor()):
        pass


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Be a user who is not root; the function gives that user a folder."""
    uid = os.geteuid() or 1234
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def give(folder: Path) -> None:
        folder.mkdir(mode=0o700)
        if os.getuid() == 0:
            os.chown(folder, uid, -1)

    return give


def test_a_users_folder_is_in_the_runtime_folder_or_by_number_in_a_shared_one(
    tmp_path: Path, own: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path / "pagethrift")
    assert state_folder() == tmp_path / "pagethrift"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared = tmp_path / f"pagethrift-{os.geteuid()}"
    own(shared)
    assert state_folder() == shared


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_others_may_write_to_is_not_used(
    tmp_path: Path, own: Callable[[Path], None], mode: int
) -> None:
    own(tmp_path / "pagethrift")
    (tmp_path / "pagethrift").chmod(mode)
    assert state_folder() is None


def test_nor_is_a_link_a_file_or_a_folder_that_cannot_be_made(
    tmp_path: Path, own: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path / "elsewhere")
    (tmp_path / "pagethrift").symlink_to("elsewhere")
    assert state_folder() is None
    (tmp_path / "pagethrift").unlink()
    (tmp_path / "pagethrift").write_text("")
    assert state_folder() is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    assert state_folder() is None
