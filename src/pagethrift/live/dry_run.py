"""A dry migration, of a guest that runs on where it is: what a recorder needs of one, and QEMU's own.

QEMU is told to hold (live/switchover.py) and, where it does wait for one, to wait for an acknowledgement
that never comes, so it cannot switch over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pagethrift.errors import QmpError
from pagethrift.live.live_result import Identity, identify
from pagethrift.live.preflight import check_source
from pagethrift.live.qmp import MigrateInfo, QmpEvent, QmpMonitor, connected
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.switchover import Switchover, acknowledgement_holds
from pagethrift.live.tap import SocketTap, Tap, end_dry_migration
from pagethrift.live.undisturbed import undisturbed


class DryRun(Protocol):
    """One dry migration, of a guest that has been checked; leaving its context ends it and restores all."""

    @property
    def tap(self) -> Tap:
        """Where the stream is read."""

    @property
    def identity(self) -> Identity:
        """What the QEMU is."""

    @property
    def after_stop(self) -> str:
        """What has happened to a guest that QEMU found idle and stopped."""

    @property
    def busy_advice(self) -> str:
        """What to do so that QEMU does not find the guest idle."""

    async def begin(self, passed: Callable[[int, float], None], stopped: Callable[[], None]) -> None:
        """Begin to migrate into the tap.

        ``passed`` is called with the number of each reading of the dirty bitmap and its time on
        CLOCK_MONOTONIC, ``stopped`` when the guest stops. Raises QmpError, VirtError.
        """

    async def counters(self) -> MigrateInfo:
        """Return QEMU's counters. Raises LinkError, QmpError, VirtError."""

    async def end(self) -> str:
        """End the migration and put everything back; return what went wrong, or an empty string."""


class Watched(Protocol):
    """A guest that can be recorded."""

    @property
    def name(self) -> str:
        """What forecasts call it."""

    def dry_run(self) -> AbstractAsyncContextManager[DryRun]:
        """Open one. Raises QmpError, VirtError or UsageError where the guest cannot be recorded."""


class QmpDryRun:
    """A dry migration of a QEMU whose monitor is ours."""

    after_stop = "the switchover was stopped, the guest runs on"

    def __init__(
        self, monitor: QmpMonitor, settings: BorrowedSettings, identity: Identity, acknowledged: bool
    ) -> None:
        """``acknowledged``: QEMU waits for an acknowledgement, and so holds an idle guest too."""
        self.tap = SocketTap()
        self.identity = identity
        self.busy_advice = "keep it busy"
        if monitor.version >= (11, 1, 0):
            self.busy_advice += ", or use a machine type before 11.1"
        self._monitor = monitor
        self._settings = settings
        self._acknowledged = acknowledged
        self._ended = False

    async def begin(self, passed: Callable[[int, float], None], stopped: Callable[[], None]) -> None:
        """Hold QEMU and begin. Raises QmpError."""
        settings = self._settings
        await settings.switch(return_path=True, events=True)
        if settings.capabilities.get("multifd"):  # the tap is one socket pair
            await settings.switch(multifd=False)
        if self._acknowledged:
            await settings.switch(switchover_ack=True)
        await settings.set({"max-bandwidth": 0})
        await Switchover(settings.set, self._monitor.version).hold()

        def on_event(event: QmpEvent) -> None:
            if event.name == "MIGRATION_PASS":
                passed(int(event.data["pass"]), event.now_s)
            elif event.name == "STOP" and not self._ended:
                stopped()

        self._monitor.on_event(on_event)
        await self.tap.open(self._monitor)

    async def counters(self) -> MigrateInfo:
        """Return QEMU's counters. Raises QmpError."""
        return await self._monitor.query_migrate()

    async def end(self) -> str:
        """Cancel the migration and restore QEMU's settings, once."""
        if self._ended:
            return ""
        self._ended = True
        try:
            failure = await end_dry_migration(self._monitor, self.tap)
        finally:
            self.tap.close()
            restored = await self._settings.restore()
        return "; ".join(filter(None, (failure, restored)))


@dataclass(frozen=True, slots=True)
class QmpGuest:
    """The guest of a QEMU whose QMP unix socket is ``path``."""

    path: str

    @property
    def name(self) -> str:
        """The socket's name."""
        return Path(self.path).name

    @asynccontextmanager
    async def dry_run(self) -> AsyncIterator[DryRun]:
        """Open a dry run. Raises QmpError where the guest cannot be recorded."""
        async with AsyncExitStack() as stack:
            monitor = await connected(stack, self.path, "source")
            settings = await BorrowedSettings.of(monitor)
            # the dry run switches multifd off
            state = await check_source(monitor, settings, read_here=True, multifd_set=True, whole_pages=True)
            if state != "running":
                raise QmpError(
                    f"source {monitor.path}: its guest is paused and would write nothing; send cont first"
                )
            identity = await identify(monitor, None)
            acknowledged = "switchover-ack" in settings.capabilities and acknowledgement_holds(
                monitor.version, identity.machine
            )
            run = QmpDryRun(monitor, settings, identity, acknowledged)
            stack.push_async_callback(lambda: undisturbed(run.end()))
            yield run
