"""Watches one migration under libvirt and steers it: events, polls, planner, switchover, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from pagethrift.errors import CancelledElsewhere, LinkError, PagethriftError, SourceEnded, VirtError
from pagethrift.live.helm import Decider, Helm
from pagethrift.live.live_result import Ordered
from pagethrift.live.migrate_options import switchover_deadline
from pagethrift.live.pilot import SLOW_START_S
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.defaults import PLANNER_TICK_S
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.virt.ends import Ends
from pagethrift.virt.events import DomainEvent, EventKind
from pagethrift.virt.hypervisor import aborted

ABORT_S = 5.0
"""libvirt aborts within milliseconds, unless QEMU is too busy to hear of it"""
END_S = 60.0
"""a libvirtd whose migration broke ends both sides of the job within a second, one that waits for the other
end to answer within 30 s"""
BUSY = "the source has not answered for {:.0f} s: it may be switching over, stopped or overloaded"
SILENT_S = 10.0
CHECK_S = 0.5
IN_USE = "Address already in use"


class Steered(Ordered, Protocol):
    """What a pilot needs to know of an operator's options."""

    @property
    def force_after_s(self) -> float | None: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def switchover_deadline_s(self) -> float | None: ...


class Pilot:
    """One migration from its call until libvirt has no more to do with it."""

    def __init__(
        self,
        options: Steered,
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
        self.helm = Helm(watch, ends.relay, decider, report, ends.warnings)
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
        self._poller: asyncio.Task[None] | None = None
        self._poll_now = asyncio.Event()
        self._deaf: list[Callable[[], Coroutine[Any, Any, None]]] = []
        """what ends the listening to events"""
        self._asked_s: float | None = None
        self._called_s = self._checked_s = 0.0
        self._first_pass_s: float | None = None
        self._slow = ends.slow_start
        self._deadline_s: float | None = None
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
        self._poller = asyncio.create_task(self._poll())

    async def watch_until_end(self) -> None:
        """Return when libvirt says that the domain has moved.

        Raises what libvirt says instead, the relay's error, LinkError at a deadline.
        """
        while not self.over:
            await self._wait_for_news()
            now_s = time.monotonic()
            self.helm.tell_rounds()
            self.helm.crowding.look(now_s)
            if self._ends.relay.failed:
                await self.settle(END_S)
            if self.over:
                break
            if self._poller is not None and self._poller.done():
                raise self._poller.exception() or VirtError("source libvirt: polling stopped")
            if self._ours:
                self._raise_if_late(now_s)
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
        for task in (self._poller, self._call):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

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

    async def _wait_for_news(self) -> None:
        try:
            async with asyncio.timeout(PLANNER_TICK_S):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()

    async def _poll(self) -> None:
        """Ask for the counters every tick, one question at a time, and wait as long as QEMU is busy."""
        while True:
            self._asked_s = time.monotonic()
            try:
                info = await self._ends.domain.counters()
            except VirtError:  # no job yet, or no more; the call itself says how the migration ended
                info = None
            self._asked_s = None
            now_s = time.monotonic()
            await self._hold_again(now_s)
            if info is not None and not self.over:
                self._began(now_s)
                self._watch.on_info(info, now_s)
                self._watch.on_status("active", now_s)
                self._news.set()
            try:
                async with asyncio.timeout(PLANNER_TICK_S):
                    await self._poll_now.wait()
            except TimeoutError:
                pass
            self._poll_now.clear()

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
                self._poll_now.set()
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

    def _raise_if_late(self, now_s: float) -> None:
        timeout_s = self._options.timeout_s
        if timeout_s is not None and now_s - self._called_s > timeout_s:
            raise LinkError(f"migration not completed within {timeout_s:g} s (--timeout)")
        if self._deadline_s is not None and now_s > self._deadline_s:
            raise LinkError(
                "switchover broken off: the destination did not confirm in time; check whether the link has"
                " slowed down, or allow more time with --switchover-deadline"
            )

    async def _steer(self, now_s: float) -> None:
        watch, options, switchover = self._watch, self._options, self._ends.switchover
        if self._first_pass_s is None:
            return
        if self._slow and now_s - self._first_pass_s >= SLOW_START_S:
            self._slow = False
            await self._lift_speed()
        if self._deadline_s is None and watch.stopped_s is not None:
            expected_s = watch.predicted_downtime_s(now_s) if watch.round else watch.longest_downtime_s()
            self._set_deadline(watch.stopped_s, expected_s)
        if switchover.gone or watch.stopped_s is not None:
            return
        elapsed_s = now_s - watch.began_s
        if options.force_after_s is not None and elapsed_s >= options.force_after_s:
            watch.forced_at_s = elapsed_s
            predicted_s = watch.predicted_downtime_s(now_s)
            await self._go(StopDecision(StopAction.SWITCH_OVER, "the operator's deadline", predicted_s))
        else:
            decision = await self.helm.decide(now_s)
            if decision is not None:
                await self._go(decision)

    async def _lift_speed(self) -> None:
        """End the slow start: the domain's own limit is in force again."""
        domain = self._ends.domain
        try:
            await domain.set_speed_mib(await domain.speed_mib())
        except VirtError as error:  # slow, but a migration
            self._ends.warnings.append(f"QEMU's first speed of 64 MiB/s stays in force: {error}")

    async def _go(self, decision: StopDecision) -> None:
        expected_s = self.helm.announce(decision)
        self._set_deadline(time.monotonic(), expected_s)
        await self._ends.switchover.go()

    def _set_deadline(self, since_s: float, expected_s: float | None) -> None:
        allowed_s = self._options.switchover_deadline_s
        if allowed_s is None:
            allowed_s = switchover_deadline(self._options.downtime_limit_s, expected_s)
        self._deadline_s = since_s + allowed_s

    def _silence(self, now_s: float) -> str:
        silent_s = now_s - self._asked_s if self._asked_s is not None else 0.0
        return BUSY.format(silent_s) if silent_s >= SILENT_S else ""
