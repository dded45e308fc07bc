"""Watches one migration under libvirt and steers it: events, polls, planner, switchover, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from pagethrift.errors import CancelledElsewhere, PagethriftError, SourceEnded, VirtError
from pagethrift.live.helm import Decider, Helm
from pagethrift.live.migrate_options import Order
from pagethrift.live.news import Poll
from pagethrift.live.pilot import SLOW_START_S
from pagethrift.live.qmp import MigrateInfo
from pagethrift.live.undisturbed import called_off
from pagethrift.live.watch import Progress, Watch
from pagethrift.virt.ends import Ends
from pagethrift.virt.events import DomainEvent, EventKind
from pagethrift.virt.hypervisor import aborted

ABORT_S = 5.0
"""libvirt aborts within milliseconds, unless QEMU is too busy to hear of it"""
END_S = 60.0
"""a libvirtd whose migration broke ends both sides of the job within a second, one that waits for the other
end to answer within 30 s"""
BUSY = "the source has not answered for {:.0f} s: it may be switching over, stopped or overloaded"
CHECK_S = 0.5
IN_USE = "Address already in use"


class Pilot:
    """One migration from its call until libvirt has no more to do with it."""

    def __init__(
        self,
        options: Order,
        ends: Ends,
        watch: Watch,
        decider: Decider | None,
        report: Callable[[Progress], None],
        news: asyncio.Event,
        ours: bool = True,
    ) -> None:
        """The feeder of ``watch`` sets ``news``, so that the pilot looks again at once.

        ``ours`` False: another client has begun the migration, and decides when it is broken off.
        """
        self.helm = Helm(options, watch, ends.relay, decider, ends.switchover, report, ends.warnings)
        self.resumed_s: float | None = None
        """when the destination's guest began to run, on CLOCK_MONOTONIC"""
        self.job: Mapping[str, Any] = {}
        """libvirt's statistics of the job that has ended"""
        self.ended_because = ""
        """why the domain ended at the source, if it did not move"""
        self._options = options
        self._ours = ours
        self._ends = ends
        self._watch = watch
        self._decider = decider
        self._news = news
        self._call: asyncio.Task[None] | None = None
        self._poll = Poll(self._counters, self._take_in)
        self._deaf: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """what ends the listening to events"""
        self._called_s = self._checked_s = 0.0
        self._first_pass_s: float | None = None
        self._slow = ends.slow_start
        self._aborting = False

    @property
    def over(self) -> bool:
        """libvirt has no more to do with this migration."""
        return self._call is None or self._call.done()

    @property
    def moved(self) -> bool:
        """libvirt says that the migration has succeeded."""
        call = self._call
        return call is not None and call.done() and not call.cancelled() and call.exception() is None

    async def start(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Set who decides the switchover and begin with ``call``, which returns when the domain has moved.

        Raises VirtError.
        """
        ends, options = self._ends, self._options
        self._deaf.append(await ends.source.listen(ends.domain, self._on_event))
        if ends.destination is not None:
            self._deaf.append(await ends.destination.listen(None, self._on_destination_event))
        if self._decider is None:
            await ends.switchover.leave_to_qemu(options.downtime_limit_s)
        else:
            await ends.switchover.hold()
        if ends.switchover.found:
            ends.warnings.append(ends.switchover.found)
        self._watch.runs = not ends.was_paused
        self._called_s = time.monotonic()
        self._watch.begin(self._called_s)
        self._call = asyncio.create_task(call())
        self._call.add_done_callback(lambda _: self._news.set())
        self._poll.start()

    async def watch_until_end(self) -> None:
        """Return when libvirt says that the domain has moved.

        Raises what libvirt says instead, the relay's error, LinkError at a deadline.
        """
        while not self.over:
            now_s = await self.helm.look(self._news)
            if self._ends.relay.failed:
                await self.settle(END_S)
            if self.over:
                break
            if self._poll.ended:
                raise self._poll.error or VirtError("source libvirt: polling stopped")
            if self._ours:
                self.helm.raise_if_late(now_s, self._called_s)
            await self._steer(now_s)
            self.helm.show_if_due(now_s, self._silence(now_s))
        if not self.moved:
            raise await self._why_failed()
        self._watch.on_status("completed", time.monotonic())
        self.helm.show(time.monotonic())

    async def abort(self) -> None:
        """End the migration, so that the guest runs on at the source; it may have succeeded all the same."""
        if self.over:
            return
        self._aborting = True
        try:
            await self._ends.domain.abort(ABORT_S)
        except VirtError as error:  # closing the relay's sockets has the same effect
            self._ends.warnings.append(str(error))
        await self.settle(ABORT_S)
        if not self.over:
            await self._ends.relay.close()
        await self.settle(END_S)

    async def settle(self, timeout_s: float | None) -> bool:
        """Wait, without steering, for libvirt to end the migration; False when it does not in time."""
        if self._call is not None:
            await asyncio.wait([self._call], timeout=timeout_s)
        if self.over and not self.moved:
            self._watch.on_status("cancelled" if self._aborting else "failed", time.monotonic())
        return self.over

    async def stop(self) -> None:
        """End the polling and the listening, and wait no longer for libvirt."""
        while self._deaf:
            with contextlib.suppress(TimeoutError):  # a libvirtd that hangs
                async with asyncio.timeout(ABORT_S):
                    await self._deaf.pop()()
        await self._poll.stop()
        await called_off(self._call)

    async def _why_failed(self) -> PagethriftError:
        """Return the best explanation: another client, the domain's end, the relay, else libvirt's words."""
        assert self._call is not None
        self._watch.on_status("failed", time.monotonic())
        error = self._call.exception()
        ends = self._ends
        if isinstance(error, VirtError) and aborted(error, ends.source.libvirt) and not self._aborting:
            return CancelledElsewhere(f"domain {ends.domain.name}: cancelled by another client of libvirt")
        if self.ended_because:
            return SourceEnded(f"domain {ends.domain.name}: it ended at the source, {self.ended_because}")
        # A relay that fails closes its sockets first, and then says why.
        if await ends.relay.wait_last_word(1.0) and ends.relay.failed:
            return await ends.relay.failure()
        if isinstance(error, VirtError) and IN_USE in str(error):
            error.args = (f"{error}; give another port with --to HOST:PORT",)
        return error if isinstance(error, PagethriftError) else VirtError(f"libvirt: {error}")

    async def _counters(self) -> MigrateInfo | None:
        try:
            return await self._ends.domain.counters()
        except VirtError:  # no job yet, or no more; the call itself says how the migration ended
            return None

    async def _take_in(self, info: MigrateInfo | None) -> None:
        now_s = time.monotonic()
        await self._hold_again(now_s)
        if info is not None and not self.over:
            self._began(now_s)
            self._watch.on_info(info, now_s)
            self._watch.on_status("active", now_s)
            self._news.set()

    async def _hold_again(self, now_s: float) -> None:
        """Another client, such as Nova with its steps, may set the downtime of its own migration."""
        if self._decider is None or self._ours or now_s - self._checked_s < CHECK_S:
            return
        self._checked_s = now_s
        with contextlib.suppress(VirtError):
            await self._ends.switchover.keep()

    def _began(self, now_s: float) -> None:
        """Preparing the destination takes libvirt a second; the migration begins with QEMU's first pass."""
        if self._first_pass_s is None:
            self._first_pass_s = now_s
            self._watch.begin(now_s)

    def _on_event(self, event: DomainEvent) -> None:
        watch = self._watch
        match event.kind:
            case EventKind.PASS:
                self._began(event.now_s)
                watch.on_pass(event.number, event.now_s)
                self._poll.at_once()
            case EventKind.SWITCHOVER:
                watch.on_stop(event.now_s)
            case EventKind.SUSPENDED:
                watch.runs = False
            case EventKind.RESUMED:
                watch.stopped_s, watch.runs = None, True
            case EventKind.STOPPED:
                self.ended_because = event.words
            case EventKind.JOB_ENDED:
                self.job = event.data
        self._news.set()

    def _on_destination_event(self, event: DomainEvent) -> None:
        if event.kind is EventKind.ARRIVED and event.uuid == self._ends.domain.uuid:
            self.resumed_s = event.now_s
            self._news.set()

    async def _steer(self, now_s: float) -> None:
        if self._first_pass_s is None:
            return
        if self._slow and now_s - self._first_pass_s >= SLOW_START_S:
            self._slow = False
            await self._lift_speed()
        await self.helm.steer(now_s)

    async def _lift_speed(self) -> None:
        """End the slow start: the domain's own limit is in force again."""
        domain = self._ends.domain
        try:
            await domain.set_speed_mib(await domain.speed_mib())
        except VirtError as error:  # slow, but a migration
            self._ends.warnings.append(f"QEMU's first speed of 64 MiB/s stays in force: {error}")

    def _silence(self, now_s: float) -> str:
        silent_s = self._poll.silent_s(now_s)
        return BUSY.format(silent_s) if silent_s else ""
