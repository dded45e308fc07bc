"""What outlives a killed pagethrift: kept settings and claims."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live import kept
from pagethrift.live.host import QemuProcess

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


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert kept.state_folder() is None
