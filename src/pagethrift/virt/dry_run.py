"""A dry migration of a libvirt domain, by libvirt's API alone: a live core dump into a pipe that we read.

Such a dump is QEMU's migration into a file, while the guest runs on. Between QEMU and us are a pipe,
libvirt's iohelper, which passes on 1 MiB at a time, and our own pipe, whose end libvirt opens in /proc: QEMU
can be that far ahead of our reading. When this process is gone, so is that path, and what writes fails.

A tolerated downtime of 1 ms holds QEMU (virt/switchover.py). Only a guest that writes next to nothing lets
QEMU stop it all the same. Then the dump is read to its end, at which libvirt lets the guest run on: after a
dump that fails at that point libvirt leaves it paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pagethrift.errors import PagethriftError, UsageError, VirtError
from pagethrift.live.dry_run import DryRun
from pagethrift.live.live_result import Identity
from pagethrift.live.qmp import MigrateInfo
from pagethrift.live.tap import Tap
from pagethrift.live.undisturbed import called_off, undisturbed
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.virt.events import DomainEvent, EventKind
from pagethrift.virt.hypervisor import RUNNING, Domain, Hypervisor, version_text
from pagethrift.virt.library import load
from pagethrift.virt.switchover import Switchover

AHEAD_BYTES = (2 << 20) + 3 * (64 << 10)
"""iohelper's buffer, the pipe before it, which is as large, our pipe, and what QEMU gathers itself"""
END_S = 10.0
READ_S = 0.02
RUNS_S = 2.0
"""libvirt lets a guest run on within milliseconds of a dump's end"""


class PipeTap(Tap):
    """Our end of a pipe; QEMU may be AHEAD_BYTES ahead whatever we do."""

    hold_pages = AHEAD_BYTES // PAGE_BYTES
    near_end_pages = hold_pages
    reads_on = True

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        os.set_blocking(self._ours, False)
        super().__init__(self._ours)
        self._open = True

    @property
    def path(self) -> str:
        """Where another process on this host opens the end to write to."""
        return f"/proc/{os.getpid()}/fd/{self._theirs}"

    def widen(self) -> None:
        """Nothing can be done about it."""

    def narrow(self) -> None:
        """Nothing can be done about it."""

    def cut(self) -> None:
        """Leave the writers without a reader, and those that come later without a path."""
        if self._open:
            self._open = False
            os.close(self._ours)
            os.close(self._theirs)

    async def drain(self, dump: asyncio.Task[None], timeout_s: float) -> None:
        """Read to the end of the dump, into nowhere."""
        room = memoryview(bytearray(1 << 20))
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while self._open and not dump.done() and asyncio.get_running_loop().time() < deadline_s:
            await self.read_into(room, READ_S)

    async def read_into(self, room: memoryview, timeout_s: float) -> int:
        """Receive what there is; 0 if nothing came in time, or the pipe is cut."""
        return await super().read_into(room, timeout_s) if self._open else 0

    def read_now(self, room: memoryview) -> int:
        """Receive without waiting; 0 for nothing, also when it is cut."""
        return super().read_now(room) if self._open else 0


class DomainDryRun:
    """A dry migration of a domain."""

    after_stop = "the guest stood for a moment and runs on"
    busy_advice = "keep it busy"

    def __init__(self, domain: Domain, identity: Identity) -> None:
        self.tap = PipeTap()
        self.identity = identity
        self._domain = domain
        self._switchover = Switchover(domain)
        self._dump: asyncio.Task[None] | None = None
        self._last = MigrateInfo()
        self._stopped: Callable[[], None] = lambda: None
        self._guest_stopped = False
        self._ended = False

    async def begin(self, passed: Callable[[int, float], None], stopped: Callable[[], None]) -> None:
        """Hold the domain and begin. Raises VirtError."""

        def on_event(event: DomainEvent) -> None:
            match event.kind:
                case EventKind.PASS:
                    passed(event.number, event.now_s)
                case EventKind.SUSPENDED | EventKind.SWITCHOVER:
                    self._stops()

        self._stopped = stopped
        await self._domain.hypervisor.listen(self._domain, on_event)
        await self._switchover.hold()
        self._dump = asyncio.create_task(self._domain.dump(self.tap.path))

    def _stops(self) -> None:
        self._guest_stopped = True
        if not self._ended:
            self._stopped()

    async def counters(self) -> MigrateInfo:
        """Return QEMU's counters, the last ones while libvirt has none. Raises VirtError."""
        dump = self._dump
        if dump is not None and dump.done():
            dump.result()  # raises what libvirt says
            self._stops()  # whose event is on its way: a dump ends by itself with a stopped guest only
            return self._last
        with contextlib.suppress(VirtError):  # no job yet, or no more
            self._last = await self._domain.dump_counters() or self._last
        return self._last

    async def end(self) -> str:
        """Abort the dump, put the operator's downtime back, and see that the guest runs; once."""
        if self._ended:
            return ""
        self._ended = True
        said = []
        for part in (self._end_dump, self._switchover.restore, self._runs):
            try:
                said.append(await part())
            except PagethriftError as error:
                said.append(str(error))
        return "; ".join(filter(None, (*said, self._switchover.found)))

    async def _end_dump(self) -> str:
        """Abort what is still under way. What is a guest's last section by now is read to its end."""
        dump, said = self._dump, ""
        if dump is None:
            self.tap.cut()
            return said
        try:
            if self._guest_stopped:
                await self.tap.drain(dump, END_S)
            # another client's job, for which ours waits, is not ours to abort
            if not dump.done() and await self._domain.dumps():
                said = await self._abort(dump)
        finally:
            self.tap.cut()
        await asyncio.wait([dump], timeout=END_S)
        await called_off(dump)
        return said

    async def _abort(self, dump: asyncio.Task[None]) -> str:
        """Abort, reading on: a QEMU that waits for its reader cannot be cancelled."""
        reading = asyncio.create_task(self.tap.drain(dump, END_S))
        try:
            await self._domain.abort(END_S)
        except VirtError as error:
            return "" if dump.done() else str(error)
        finally:
            await reading
        return ""

    async def _runs(self) -> str:
        """Return an empty string when the domain runs; resume it where the dump has left it paused."""
        domain = self._domain
        deadline_s = asyncio.get_running_loop().time() + RUNS_S
        while (state := await domain.hypervisor.state(domain.uuid)) != RUNNING:
            if await domain.paused_by_dump():
                await domain.resume()
                return f"the dump had left domain {domain.name} paused; it was resumed"
            if asyncio.get_running_loop().time() > deadline_s:
                return f"domain {domain.name} ran before and is {state} now; see why"
            await asyncio.sleep(READ_S)
        return ""


@dataclass(frozen=True, slots=True)
class DomainGuest:
    """A domain of the libvirt at ``uri``, on this host."""

    name: str
    """name, UUID or number"""
    uri: str = SOURCE_URI

    @asynccontextmanager
    async def dry_run(self) -> AsyncIterator[DryRun]:
        """Open a dry run. Raises VirtError or UsageError where the domain cannot be recorded."""
        if not self.uri.partition("://")[2].startswith("/"):
            raise UsageError(f"--connect {self.uri}: a domain is watched on its own host; run this there")
        async with AsyncExitStack() as stack:
            hypervisor = await Hypervisor.connect(load(), self.uri, "source")
            stack.push_async_callback(lambda: undisturbed(hypervisor.close()))
            domain = await hypervisor.domain(self.name)
            where = f"domain {domain.name} at {self.uri}"
            state = await hypervisor.state(domain.uuid)
            if state != RUNNING:
                raise VirtError(f"{where}: it is {state} and would write nothing; start or resume it first")
            if await domain.busy():
                raise VirtError(f"{where}: a job runs; wait for its end (virsh domjobinfo {domain.name})")
            found = await domain.identity()
            identity = Identity(
                source_qemu=version_text(hypervisor.qemu_version),
                destination_qemu="",
                machine=found.machine,
                accelerator=found.accelerator,
                guest=domain.name,
                driver=f"libvirt {version_text(hypervisor.version)}",
            )
            run = DomainDryRun(domain, identity)
            stack.push_async_callback(lambda: undisturbed(run.end()))
            yield run
