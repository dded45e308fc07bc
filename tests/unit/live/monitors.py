"""QMP monitors without a QEMU behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.qmp import QmpMonitor


def refused(path: Path, timeout_s: float = 0.3) -> str:
    """Return the one-line error of a connection that must fail."""

    async def connect() -> None:
        await QmpMonitor.connect(str(path), timeout_s=timeout_s)

    with pytest.raises(QmpError) as caught:
        asyncio.run(connect())
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@contextlib.asynccontextmanager
async def fake_monitor(
    path: Path,
    greeting: bytes,
    answers: dict[str, Any] | None = None,
    refusals: dict[str, list[str]] | None = None,
    asked: list[tuple[str, Any]] | None = None,
) -> AsyncIterator[None]:
    """Listen with ``greeting`` and answer each command with what ``answers`` names (or {}).

    ``refusals`` are used up first, one for each command of that name. ``asked`` receives (command,
    arguments).
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with contextlib.suppress(OSError):
            text = ""
            while data := await reader.read(65536):
                text += data.decode()
                command, end = json.JSONDecoder().raw_decode(text)  # qemu.qmp ends no line
                text = text[end:].lstrip()
                name = command.get("execute") or command["exec-oob"]
                if asked is not None:
                    asked.append((name, command.get("arguments")))
                if answers is not None and name in answers and answers[name] is None:
                    continue
                said: dict[str, Any] = {"return": (answers or {}).get(name, {})}
                if refusals and refusals.get(name):
                    said = {"error": {"class": "GenericError", "desc": refusals[name].pop(0)}}
                writer.write(json.dumps({**said, "id": command.get("id")}).encode() + b"\r\n")
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()


def greeting(major: int = 7, minor: int = 2) -> bytes:
    """Return the first line of a QEMU of that version."""
    version = {"qemu": {"major": major, "minor": minor, "micro": 0}, "package": ""}
    return json.dumps({"QMP": {"version": version, "capabilities": ["oob"]}}).encode() + b"\r\n"
