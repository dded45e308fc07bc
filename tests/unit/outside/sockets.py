"""A status socket of this process in a folder of the test's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pagethrift.model.relay_protocol import Change
from pagethrift.model.running import RunKind, Running
from pagethrift.outside.status_socket import StatusSocket, open_status_socket


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process's state be in a folder; return the folder of its sockets."""
    monkeypatch.setattr("pagethrift.state_folder.ROOTS", folder / "pagethrift")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return folder / "pagethrift"


@contextlib.contextmanager
def status_socket(
    running: Running, change: Callable[[Change], None] = lambda change: None, kind: RunKind = RunKind.RELAY
) -> Iterator[StatusSocket]:
    """Open it, and close it."""
    warnings: list[str] = []
    opened = open_status_socket(kind, lambda: running, change, warnings.append)
    assert opened is not None, warnings
    yield opened
    opened.close()
