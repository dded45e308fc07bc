"""Talk QMP from ordinary test code: the qemu.qmp library behind blocking calls.

One event loop in one background thread serves all monitors of a test process.
Events are kept with the time of their arrival (CLOCK_MONOTONIC of this
machine) and QEMU's own timestamp.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ExecuteError, QMPClient

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None
_loop_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Event:
    """One QMP event."""

    name: str
    arrived_s: float
    """time.monotonic() when it was read"""
    qemu_s: float
    """QEMU's timestamp, seconds since 1970"""
    data: dict[str, Any] = field(default_factory=dict)


class Qmp:
    """A monitor with blocking calls; use it as a context manager or call ``close``."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self.events: list[Event] = []
        """all events so far, oldest first; appended by the loop's thread"""
        self._changed = threading.Condition()
        self._client = _run(self._connect(str(path), timeout_s), timeout_s + 5)
        self._reader = _run(self._start_reader(), 5)

    def execute(self, command: str, timeout_s: float | None = None, **arguments: Any) -> Any:
        """Run a command and return its answer; write ``max_bandwidth=1`` for ``max-bandwidth``.

        Raises ExecuteError when QEMU refuses it and TimeoutError after ``timeout_s``.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.command(command, named, timeout_s)

    def command(
        self, command: str, arguments: dict[str, Any], timeout_s: float | None = None, oob: bool = False
    ) -> Any:
        """Run a command whose argument names are given as QEMU spells them; ``oob`` = out of band."""
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        return _run(self._client.execute(command, arguments or None, oob), wait_s)

    def migrate(self, uri: str) -> None:
        """Start a migration, waiting for QEMU to have cleared up after one it has called failed."""
        deadline_s = time.monotonic() + self.timeout_s
        while True:
            try:
                self.execute("migrate", uri=uri)
                return
            except ExecuteError as error:
                if "duplicate yank instance" not in str(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(0.02)

    def event(self, name: str, timeout_s: float | None = None, after: int = 0) -> Event:
        """Return the first event called ``name`` at index ``after`` or later, waiting for it if needed.

        Raises TimeoutError, naming the events that did arrive.
        """
        deadline_s = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        with self._changed:
            while True:
                for event in self.events[after:]:
                    if event.name == name:
                        return event
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"no event {name}; got {[event.name for event in self.events]}")
                self._changed.wait(left_s)

    def set_capabilities(self, **capabilities: bool) -> None:
        """Switch migration capabilities, e.g. ``return_path=True``."""
        rows = [{"capability": k.replace("_", "-"), "state": v} for k, v in capabilities.items()]
        self.execute("migrate-set-capabilities", capabilities=rows)

    def close(self) -> None:
        """Disconnect; never raises."""
        with contextlib.suppress(Exception):  # the QEMU may be gone already
            _run(self._stop(), 5)

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _connect(self, path: str, timeout_s: float) -> QMPClient:
        deadline_s = time.monotonic() + timeout_s
        while not os.path.exists(path) and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
        while True:
            client = QMPClient()
            try:
                await client.connect(path)
                return client
            except Exception:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.01)

    async def _start_reader(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._read_events())

    async def _read_events(self) -> None:
        async for message in self._client.events:
            stamp: Any = message["timestamp"]
            data: Any = message.get("data", {})
            event = Event(
                str(message["event"]),
                time.monotonic(),
                stamp["seconds"] + stamp["microseconds"] / 1e6,
                data,
            )
            with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def _stop(self) -> None:
        self._reader.cancel()
        await self._client.disconnect()


def _run(coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
    global _loop
    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="qmp", daemon=True).start()
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop)
    try:
        return future.result(timeout_s)
    except TimeoutError:
        future.cancel()
        raise


__all__ = ["Event", "ExecuteError", "Qmp"]
