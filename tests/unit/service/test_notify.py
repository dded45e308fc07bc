"""What systemd is told, and that nobody else has to listen."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pagethrift.service.notify import VARIABLE, Supervisor


def test_a_supervisor_hears_and_children_do_not_know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(folder / "notify"))
        heard.settimeout(5)
        monkeypatch.setenv(VARIABLE, str(folder / "notify"))
        supervisor = Supervisor()
        assert VARIABLE not in os.environ
        supervisor.say("READY=1", "STATUS=listening")
        assert heard.recv(100) == b"READY=1\nSTATUS=listening"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0pagethrift-{os.getpid()}")
        heard.settimeout(5)
        monkeypatch.setenv(VARIABLE, f"@pagethrift-{os.getpid()}")
        Supervisor().say("STOPPING=1")
        assert heard.recv(100) == b"STOPPING=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    Supervisor().say("READY=1")
    monkeypatch.setenv(VARIABLE, "/no/such/socket")
    Supervisor().say("READY=1")
