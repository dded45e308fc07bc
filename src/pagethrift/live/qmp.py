"""One QEMU monitor: commands with deadlines, events with CLOCK_MONOTONIC stamps, errors on one line.

A QMP socket serves one client at a time, and QEMU's main loop does not answer while the source
writes its last section (seconds on a slow link); only out-of-band commands (``yank``) work then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, cast

from pagethrift.errors import QmpError, UsageError
from pagethrift.live.host import QemuProcess
from pagethrift.live.said import said
from pagethrift.live.undisturbed import undisturbed
from qemu.qmp import ConnectError, EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

OLDEST_VERSION = (7, 2, 0)
GREETING_S = 3.0
"""a healthy QEMU greets within milliseconds; a busy or foreign socket never does"""
ANSWER_S = 10.0
UNTIDY = "duplicate yank instance"
"""QEMU's refusal while it cleans up after a migration that it has already reported failed or cancelled"""
TIDY_S = 5.0
_PEER = struct.Struct("3i")

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class QmpEvent:
    """One event as it arrived."""

    name: str
    data: Mapping[str, Any]
    now_s: float
    """CLOCK_MONOTONIC on arrival"""


@dataclass(frozen=True, slots=True)
class MigrateInfo:
    """The answer of ``query-migrate``; zero where QEMU leaves a field out."""

    status: str = ""
    """empty before the first migration"""
    error: str = ""
    downtime_s: float | None = None
    """only once completed"""
    remaining_bytes: int = 0
    transferred_bytes: int = 0
    total_bytes: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    delta_pages: int = 0
    """QEMU's own XBZRLE"""
    dirty_sync_count: int = 0
    link_bps: float = 0.0
    """bytes per second in QEMU's last window of at least 100 ms"""
    page_bytes: int = 4096

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> MigrateInfo:
        """Read what QEMU returned."""
        ram = answer.get("ram", {})
        return cls(
            status=answer.get("status", ""),
            error=answer.get("error-desc", ""),
            downtime_s=answer["downtime"] / 1000 if "downtime" in answer else None,
            remaining_bytes=ram.get("remaining", 0),
            transferred_bytes=ram.get("transferred", 0),
            total_bytes=ram.get("total", 0),
            normal_pages=ram.get("normal", 0),
            zero_pages=ram.get("duplicate", 0),
            delta_pages=answer.get("xbzrle-cache", {}).get("pages", 0),
            dirty_sync_count=ram.get("dirty-sync-count", 0),
            link_bps=ram.get("mbps", 0.0) * 1e6 / 8,
            page_bytes=ram.get("page-size", 4096),
        )


class _Stamper(EventListener):
    """Passes every event on with its arrival time, and keeps no history."""

    def __init__(self, sink: Callable[[QmpEvent], None]) -> None:
        super().__init__()
        self._sink = sink

    async def put(self, event: Message) -> None:
        data = cast(Mapping[str, Any], event.get("data", {}))
        self._sink(QmpEvent(str(event["event"]), data, time.monotonic()))


class QmpMonitor:
    """A connected monitor; ``role`` ("source", "destination") opens its error lines."""

    def __init__(self, role: str, path: str, client: QMPClient, peer: tuple[int, int, int]) -> None:
        self.role = role
        self.path = path
        self.peer_pid, self.peer_uid, self.peer_gid = peer
        self.process = QemuProcess.at(self.peer_pid)
        """the QEMU itself; None where it cannot be seen from here"""
        self._client = client
        self._sinks: list[Callable[[QmpEvent], None]] = []
        client.register_listener(_Stamper(self._spread))
        greeting = client.greeting
        package = greeting.QMP.version if greeting is not None else {}
        number = package.get("qemu", {})
        assert isinstance(number, Mapping)
        self.version: Version = (number.get("major", 0), number.get("minor", 0), number.get("micro", 0))

    @classmethod
    async def connect(cls, path: str, role: str = "source", timeout_s: float = GREETING_S) -> QmpMonitor:
        """Connect to the QMP unix socket at ``path`` (a ``unix:`` prefix is allowed), with OOB enabled.

        Raises QmpError when no idle monitor of QEMU 7.2 or newer answers.
        """
        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)
        path = path.removeprefix("unix:")
        where = f"{role} QMP socket {path}"
        link = _connected_socket(path, where)
        peer = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        client = QMPClient(role)
        try:
            await asyncio.wait_for(client.connect(link), timeout_s)
        except TimeoutError as error:
            link.close()
            raise QmpError(
                f"{where}: no greeting within {timeout_s:g} s; it serves one client at a time:"
                " disconnect the other one, or give QEMU a second -qmp socket"
            ) from error
        except (ConnectError, OSError) as error:
            link.close()
            cause = getattr(error, "exc", error)
            raise QmpError(f"{where}: this is not a QMP socket ({said(cause)})") from error
        monitor = cls(role, path, client, peer)
        if monitor.version < OLDEST_VERSION:
            await monitor.close()
            raise QmpError(f"{where}: QEMU {monitor.version_text} is too old, 7.2 or newer is needed")
        return monitor

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(str(part) for part in self.version)

    @property
    def alive(self) -> bool:
        """False once QEMU has closed the connection."""
        return self._client.runstate is Runstate.RUNNING

    @property
    def process_ended(self) -> bool:
        """Whether it is certain that this QEMU has ended; a broken connection alone is no proof."""
        return self.process is not None and self.process.ended

    def on_event(self, sink: Callable[[QmpEvent], None]) -> None:
        """Call ``sink`` with every event from now on, in order, inside the event loop."""
        self._sinks.append(sink)

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = ANSWER_S,
        oob: bool = False,
    ) -> Any:
        """Run one command and return its value; ``timeout_s`` None waits as long as QEMU lives.

        Raises QmpError when QEMU refuses, does not answer in time or has ended.
        """
        try:
            async with asyncio.timeout(timeout_s):  # Python 3.11's wait_for can swallow a cancellation
                return await self._client.execute(command, arguments, oob=oob)
        except TimeoutError as error:
            raise QmpError(
                f"{self.role} {self.path}: no answer to {command} within {timeout_s:g} s"
            ) from error
        except ExecuteError as error:
            raise QmpError(f"{self.role} {self.path} refused {command}: {said(error)}") from error
        except (QMPError, OSError, EOFError) as error:
            raise QmpError(f"{self.role} {self.path}: QEMU ended or hung up during {command}") from error

    async def query_migrate(self, timeout_s: float | None = ANSWER_S) -> MigrateInfo:
        """Return the state of the migration. Raises QmpError."""
        return MigrateInfo.from_answer(await self.execute("query-migrate", timeout_s=timeout_s))

    async def query_status(self, timeout_s: float | None = ANSWER_S) -> str:
        """Return the run state: running, paused, inmigrate, postmigrate ... Raises QmpError."""
        return str((await self.execute("query-status", timeout_s=timeout_s))["status"])

    async def capabilities(self) -> dict[str, bool]:
        """Return every migration capability this QEMU knows, with its state. Raises QmpError."""
        answer = await self.execute("query-migrate-capabilities")
        return {item["capability"]: item["state"] for item in answer}

    async def set_capabilities(self, states: Mapping[str, bool]) -> None:
        """Switch migration capabilities; QEMU refuses while a migration runs. Raises QmpError."""
        pairs = [{"capability": name, "state": state} for name, state in states.items()]
        await self.execute("migrate-set-capabilities", {"capabilities": pairs})

    async def parameters(self) -> dict[str, Any]:
        """Return all migration parameters. Raises QmpError."""
        return dict(await self.execute("query-migrate-parameters"))

    async def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set migration parameters, also during a migration. Raises QmpError."""
        await self.execute("migrate-set-parameters", dict(values))

    async def migrate(self, uri: str, tidy_s: float = TIDY_S) -> None:
        """Start a migration; wait up to ``tidy_s`` while QEMU cleans up after an earlier one.

        Raises QmpError.
        """
        deadline_s = time.monotonic() + tidy_s
        while True:
            try:
                await self.execute("migrate", {"uri": uri})
                return
            except QmpError as error:
                if UNTIDY not in str(error) or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(0.05)

    async def cancel_migration(self, answer_s: float = 1.0) -> None:
        """Cancel the migration; if the monitor is blocked, shut its sockets down out of band.

        Raises QmpError when both fail.
        """
        try:
            await self.execute("migrate_cancel", timeout_s=answer_s)
        except QmpError:
            await self.yank()

    async def yank(self) -> None:
        """Shut the migration's sockets down out of band; the guest resumes at once. Raises QmpError."""
        instances = {"instances": [{"type": "migration"}]}
        await self.execute("yank", instances, timeout_s=3.0, oob=True)

    async def give_descriptor(self, name: str, descriptor: int) -> None:
        """Pass an open file to QEMU, for use as ``fd:NAME``; needs a unix socket. Raises QmpError."""
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise QmpError(f"{self.role} {self.path}: cannot pass a file: {said(error)}") from error
        await self.execute("getfd", {"fdname": name})

    async def close(self) -> None:
        """Hang up; nothing that goes wrong with that is an error, least of all instead of an earlier one."""
        with suppress(Exception):
            await asyncio.wait_for(self._client.disconnect(), 3.0)

    def _spread(self, event: QmpEvent) -> None:
        for sink in self._sinks:
            sink(event)


async def connected(stack: AsyncExitStack, path: str, role: str) -> QmpMonitor:
    """Return a monitor that ``stack`` closes, however it is left. Raises QmpError, UsageError."""
    monitor = await QmpMonitor.connect(path, role)
    stack.push_async_callback(lambda: undisturbed(monitor.close()))
    return monitor


def _connected_socket(path: str, where: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.setblocking(False)
    try:
        link.connect(path)
    except BlockingIOError as error:  # the listener's queue is full: QEMU serves another client
        link.close()
        raise QmpError(f"{where}: busy with other clients; disconnect them first") from error
    except FileNotFoundError as error:
        link.close()
        raise QmpError(
            f"{where}: does not exist; start QEMU with -qmp unix:{path},server=on,wait=off"
        ) from error
    except ConnectionRefusedError as error:
        link.close()
        raise QmpError(f"{where}: nothing listens on it; check whether that QEMU has ended") from error
    except OSError as error:
        link.close()
        if "too long" in str(error):
            raise UsageError(f"{where}: the path is too long for a unix socket") from error
        raise QmpError(f"{where}: {error.strerror or error}") from error
    return link
