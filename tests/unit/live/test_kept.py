"""What outlives a killed pagethrift: kept settings and claims."""

from __future__ import annotations

import fcntl
import json
import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live import kept
from pagethrift.live.host import QemuProcess
from pagethrift.state_folder import state_folder

PROCESS = QemuProcess(4711, "99")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "state_folder", lambda: tmp_path)
    return tmp_path


def monitor(process: QemuProcess | None = PROCESS) -> Any:
    return SimpleNamespace(role="source", path="s.qmp", process=process)


def test_what_was_kept_comes_back_until_it_is_forgotten() -> None:
    assert kept.kept(PROCESS) is None
    kept.keep(PROCESS, {"downtime-limit": 450, "tls-creds": ""}, {"events": False})
    assert kept.kept(PROCESS) == ({"downtime-limit": 450, "tls-creds": ""}, {"events": False})
    assert kept.kept(QemuProcess(4711, "100")) is None, "another process with the same number"
    assert kept.kept(None) is None
    kept.forget(PROCESS)
    assert kept.kept(PROCESS) is None


def test_what_was_kept_for_a_qemu_that_has_ended_is_swept(folder: Path) -> None:
    """And its claim; a process number may have come to another process since."""
    number = os.getpid()
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    for process in (QemuProcess(number, started), QemuProcess(number, "1"), PROCESS):
        kept.keep(process, {"downtime-limit": 450}, {})
    (folder / "4711-99.lock").touch()
    (folder / "4712-99.settings.part").touch()
    (folder / "notes-of-mine.txt").touch()
    with kept.claimed(monitor(QemuProcess(4713, "99"))), kept.claimed(monitor(QemuProcess(number, started))):
        assert sorted(each.name for each in folder.iterdir()) == sorted(
            [
                "4713-99.lock",
                f"{number}-{started}.lock",
                f"{number}-{started}.settings.json",
                "notes-of-mine.txt",
            ]
        ), "a claim that is held stays"


def test_a_full_disk_leaves_nothing_half_written(folder: Path) -> None:
    kept.keep(PROCESS, {"downtime-limit": 450}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        kept.keep(PROCESS, {"downtime-limit": 450, "max-bandwidth": 1}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in folder.iterdir()] == ["4711-99.settings.json"]
    assert kept.kept(PROCESS) == ({"downtime-limit": 450}, {})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, '{"schema": "x"}', json.dumps({"schema": kept.SCHEMA, "version": 1}),
     json.dumps({"schema": kept.SCHEMA, "version": 1, "parameters": {"a": []}, "capabilities": {}}),
     json.dumps({"schema": kept.SCHEMA, "version": 1, "parameters": {}, "capabilities": {"a": 1}})],
)  # fmt: skip
def test_a_broken_file_is_not_trusted(text: str, folder: Path) -> None:
    (folder / "4711-99.settings.json").write_text(text)
    assert kept.kept(PROCESS) is None


def test_one_at_a_time() -> None:
    with kept.claimed(monitor()):
        with (
            pytest.raises(QmpError, match="another pagethrift works with this QEMU"),
            kept.claimed(monitor()),
        ):
            pass
        with kept.claimed(monitor(QemuProcess(4712, "5"))), kept.claimed(monitor(None)):
            pass
    with kept.claimed(monitor()):
        pass


def test_a_claim_leaves_no_file(folder: Path) -> None:
    with kept.claimed(monitor()):
        assert [path.name for path in folder.iterdir()] == ["4711-99.lock"]
    with pytest.raises(ZeroDivisionError), kept.claimed(monitor()):
        _ = 1 // 0
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_gone_ends_no_migration(folder: Path) -> None:
    with kept.claimed(monitor()):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert not folder.exists()


def test_a_refused_claim_leaves_the_owners_file(folder: Path) -> None:
    with kept.claimed(monitor()):
        with pytest.raises(QmpError), kept.claimed(monitor()):
            pass
        assert [path.name for path in folder.iterdir()] == ["4711-99.lock"]
        with pytest.raises(QmpError), kept.claimed(monitor()):
            pass


@pytest.mark.parametrize("another", [False, True])
def test_a_file_that_its_owner_removed_meanwhile_is_no_claim(
    another: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner ends between another's opening and locking; at the path is no file, or a third one's."""
    path, lock = folder / "4711-99.lock", fcntl.flock
    calls: list[int] = []

    def late(file: Any, operation: int) -> None:
        if not calls:
            path.unlink()
            if another:
                path.touch()
        calls.append(operation)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with kept.claimed(monitor()):
        assert len(calls) == 2
        with pytest.raises(QmpError), kept.claimed(monitor()):
            pass
    assert not path.exists()


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert state_folder() is None
