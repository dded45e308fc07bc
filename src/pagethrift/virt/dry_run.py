"""A dry migration of a libvirt domain, by libvirt's API alone: a live core dump into a pipe that we read.

Such a dump is QEMU's migration into a file, while the guest runs on. Between QEMU and us are a pipe,
libvirt's iohelper, which passes on 1 MiB at a time, and the FIFO that we named: QEMU can be that far ahead of
our reading. A tolerated downtime of 1 ms holds it (virt/switchover.py). Only a guest that writes next to
nothing lets QEMU stop it all the same. Then the dump is read to its end, at which libvirt lets the guest run
on: after a dump that fails at that point libvirt would leave it paused.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pagethrift.errors import UsageError, VirtError
from pagethrift.live.dry_run import DryRun
from pagethrift.live.live_result import Identity
from pagethrift.live.qmp import MigrateInfo
from pagethrift.live.tap import Tap
from pagethrift.live.undisturbed import called_off, undisturbed
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.virt.events import DomainEvent, EventKind
from pagethrift.virt.hypervisor import PAUSED, RUNNING, Domain, Hypervisor, version_text
from pagethrift.virt.library import load
from pagethrift.virt.switchover import Switchover

AHEAD_BYTES = (2 << 20) + 3 * (64 << 10)
"""iohelper's buffer, the pipe before it, which is as large, the FIFO, and what QEMU gathers itself"""
END_S = 10.0
READ_S = 0.02
RUNS_S = 2.0
"""libvirt lets a guest run on within milliseconds of a dump's end"""


class FifoTap(Tap):
    """Our end of a FIFO; QEMU may be AHEAD_BYTES ahead whatever we do."""

    hold_pages = AHEAD_BYTES // PAGE_BYTES
    near_end_pages = hold_pages
    reads_on = True

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        os.mkfifo(path, 0o600)
        self.path = path
        # also for writing, so that there is no end of file before libvirt has opened it
        super().__init__(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    def widen(self) -> None:
        """Nothing can be done about it."""

    def narrow(self) -> None:
        """Nothing can be done about it."""

    def cut(self) -> None:
        """Leave the writers without a reader."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def drain(self, dump: asyncio.Task[None], timeout_s: float) -> None:
        """Read to the end of the dump, into nowhere."""
        room = memoryview(bytearray(1 << 20))
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not dump.done() and asyncio.get_running_loop().time() < deadline_s:
            await self.read_into(room, READ_S)

    def read_now(self, room: memoryview) -> int:
        """Receive without waiting; 0 for nothing, also when it is cut."""
        return super().read_now(room) if self._fd >= 0 else 0


class DomainDryRun:
    """A dry migration of a domain."""

    after_stop = "the guest stood for a moment and runs on"
    busy_advice = "keep it busy"

    def __init__(self, domain: Domain, identity: Identity, tap: FifoTap) -> None:
        self.tap = tap
        self.identity = identity
        self._domain = domain
        self._switchover = Switchover(domain)
        self._dump: asyncio.Task[None] | None = None
        self._last = MigrateInfo()
        self._guest_stopped = False
        self._ended = False

    async def begin(self, passed: Callable[[int, float], None], stopped: Callable[[], None]) -> None:
        """Hold the domain and begin. Raises VirtError."""

        def on_event(event: DomainEvent) -> None:
            match event.kind:
                case EventKind.PASS:
                    passed(event.number, event.now_s)
                case EventKind.SUSPENDED | EventKind.SWITCHOVER if not self._ended:
                    self._guest_stopped = True
                    stopped()

        await self._domain.hypervisor.listen(self._domain, on_event)
        await self._switchover.hold()
        self._dump = asyncio.create_task(self._domain.dump(str(self.tap.path)))

    async def counters(self) -> MigrateInfo:
        """Return QEMU's counters, the last ones while libvirt has none. Raises VirtError."""
        dump = self._dump
        if dump is not None and dump.done():
            dump.result()  # raises what libvirt says
            raise VirtError(f"domain {self._domain.name}: QEMU has ended its dry migration by itself")
        try:
            found = await self._domain.counters()
        except VirtError:  # no job yet, or no more
            found = None
        self._last = found or self._last
        return self._last

    async def end(self) -> str:
        """Abort the dump, put the operator's downtime back, and see that the guest runs; once."""
        if self._ended:
            return ""
        self._ended = True
        said = []
        dump = self._dump
        if dump is not None and self._guest_stopped:
            await self.tap.drain(dump, END_S)
        if dump is not None and not dump.done():
            try:
                await self._domain.abort(END_S)
            except VirtError as error:
                said.append(str(error))
        self.tap.cut()  # a QEMU that waits for its reader cannot be cancelled before
        if dump is not None:
            await asyncio.wait([dump], timeout=END_S)
            await called_off(dump)
        said.append(await self._switchover.restore())
        said.append(self._switchover.found)
        said.append(await self._runs())
        return "; ".join(filter(None, said))

    async def _runs(self) -> str:
        """Return an empty string when the domain runs; resume it where the dump has left it paused."""
        domain = self._domain
        deadline_s = asyncio.get_running_loop().time() + RUNS_S
        try:
            while (state := await domain.hypervisor.state(domain.uuid)) != RUNNING:
                if asyncio.get_running_loop().time() > deadline_s:
                    if state != PAUSED or not self._guest_stopped:
                        return f"domain {domain.name} ran before and is {state} now; see why"
                    await domain.resume()
                    return f"the dump had left domain {domain.name} paused; it was resumed"
                await asyncio.sleep(0.02)
        except VirtError as error:
            return f"nobody could ask whether domain {domain.name} runs: {error}"
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
        if urlsplit(self.uri).netloc:
            raise UsageError(
                f"--connect {self.uri}: a domain is watched on its own host; run this command there"
            )
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
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagethrift-dump-"))
            try:
                tap = FifoTap(Path(folder) / "stream")
            except OSError as error:
                raise UsageError(f"{folder}: no FIFO can be made there: {error.strerror}") from error
            run = DomainDryRun(domain, identity, tap)
            stack.push_async_callback(lambda: undisturbed(run.end()))
            yield run
