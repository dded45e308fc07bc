"""Watches one running migration and steers it: polls, planner, switchover, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from pagethrift.errors import (
    CancelledElsewhere,
    LinkError,
    PagethriftError,
    QmpError,
    SourceEnded,
    StreamError,
)
from pagethrift.live.destination import Destination
from pagethrift.live.ends import Ends
from pagethrift.live.helm import Decider, Helm
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.news import Poll, heard
from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.live.relay_process import RelayProcess
from pagethrift.live.switchover import Switchover
from pagethrift.live.undisturbed import called_off
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.pages import PAGE_BYTES

ANSWER_S = 1.0
"""a source that does not answer by then is asked no further"""
SHUT_BY_ITSELF = ("Input/output error", "Broken pipe")
"""what a source says that shut its own socket down: on `yank`, and on a `migrate_cancel` whose shutdown its
migration thread notices before it is told (on a busy host, about one in five)"""
SLOW_START_BPS = 64 << 20
SLOW_START_S = 0.15
"""QEMU knows no bandwidth in its first 100 ms. After a pass shorter than that it would switch over
regardless of its parameters. At this rate only 6.4 MB fit into the 100 ms, so the first measurement comes
first. Links below 0.5 Gbit/s do not notice."""
WAITING_ROUND_S, WAITING_END_S = 1.0, 8.0
"""how long rounds are made to take of a migration that waits for the word to go, and the end of its first
pass. QEMU switches over at once after a round in which the guest wrote nothing, whatever is set"""
WAITING_LEAST_BPS, WAITING_FIRST_LEAST_BPS = 10 * PAGE_BYTES, 1 << 20
"""a page in each 100 ms, for which QEMU counts what it may send; in the first pass, which is to end"""
REPACE = 1.5
"""the pace is changed when it is off by this factor"""
SLOW_START_BELOW_BYTES = 1 << 30
"""a pass over 1 GiB of zero pages alone takes QEMU over 100 ms (0.8 s measured with 200 MB of content)"""


def waiting_pace_bps(left_bytes: int, round: int) -> int:
    """Return max-bandwidth for a migration that waits; this round has, or had, so many bytes."""
    if round:
        return max(WAITING_LEAST_BPS, int(left_bytes / WAITING_ROUND_S))
    return max(WAITING_FIRST_LEAST_BPS, int(left_bytes / WAITING_END_S))


class Pilot:
    """One migration from the `migrate` command until the source says how it ended."""

    def __init__(
        self,
        options: MigrateOptions,
        ends: Ends,
        watch: Watch,
        decider: Decider | None,
        report: Callable[[Progress], None],
        news: asyncio.Event,
    ) -> None:
        """The feeder of ``watch`` sets ``news``, so that the pilot looks again at once."""
        self.take_over: asyncio.Task[float | None] | None = None
        """starts the guest at the destination; None until that is allowed"""
        self.accepted = False
        """the source has accepted our `migrate`: what runs there now is ours to cancel"""
        self.shutdown_reason = ""
        """why the source's guest was powered off, as QEMU says; empty: it was not"""
        self.switchover = Switchover(ends.settings.set, ends.source.version, ends.bitmap_bytes)
        planner = None if options.features.post_copy else decider
        self.helm = Helm(options, watch, ends.relay, planner, self.switchover, report, ends.warnings)
        self.poll = Poll(lambda: ends.source.query_migrate(timeout_s=None), self._take_in)
        self._stops: set[asyncio.Task[None]] = set()
        self._options = options
        self._ends = ends
        self._watch = watch
        self._decider = decider
        self._news = news
        self._slow = False
        self._paced_bps = 0
        """max-bandwidth for the time of waiting; 0: not set"""
        self._post_copy_begun = False

    async def start(self) -> None:
        """Set who decides the switchover and send `migrate`. Raises QmpError."""
        settings, source = self._ends.settings, self._ends.source
        if self._decider is None and not self._watch.waits_for_go:
            await self.switchover.leave_to_qemu(self._watch.downtime_limit_s)
        else:
            await self.switchover.hold()
            memory = await source.execute("query-memory-size-summary")
            self._slow = int(memory["base-memory"]) < SLOW_START_BELOW_BYTES
            full_bps = self._full_speed_bps()
            start_bps = min(SLOW_START_BPS, full_bps or SLOW_START_BPS) if self._slow else full_bps
            if self._slow and self._watch.waits_for_go:
                self._slow = False
                pace_bps = waiting_pace_bps(int(memory["base-memory"]), 0)
                start_bps = self._paced_bps = min(pace_bps, full_bps or pace_bps)
            await settings.set({"max-bandwidth": start_bps})
        source.on_event(self._on_event)
        self._watch.runs = await source.query_status() == "running"  # the checks were seconds ago
        self._watch.begin(time.monotonic())
        await source.migrate(self._ends.uri)
        self.accepted = True
        self.poll.start()

    async def watch_until_end(self) -> None:
        """Return when the source reports completed, failed or cancelled.

        Raises the relay's error, LinkError at a deadline, QmpError when the source has gone.
        """
        while not self._watch.ended:
            now_s = await self.helm.look(self._news)
            await self._raise_if_broken(now_s)
            if not self._watch.ended:
                await self._steer(now_s)
            self.helm.show_if_due(now_s, self.silence(now_s))

    async def settle(self, timeout_s: float) -> bool:
        """Wait, without steering, for the source to report its end; False when no report comes."""
        deadline_s = time.monotonic() + timeout_s
        while not self._watch.ended and time.monotonic() < deadline_s:
            if self.poll.ended:
                return False
            await heard(self._news)
        return self._watch.ended

    async def stop(self) -> None:
        """End the polling."""
        await self.poll.stop()
        await called_off(self.take_over, *self._stops)

    def start_take_over(self) -> None:
        """Let the destination run the guest, in the background; a second call does nothing."""
        destination = self._ends.destination
        if destination is not None and self.take_over is None:
            self.take_over = asyncio.create_task(self._take_over(destination))

    async def _take_over(self, destination: Destination) -> float | None:
        await self.know_stops()
        return await destination.take_over(self._watch.runs and self._options.start_destination)

    async def know_stops(self) -> None:
        """Wait until it is known whether each STOP so far was the switchover's."""
        if self._stops:
            await asyncio.wait(set(self._stops))

    async def _take_in(self, info: MigrateInfo) -> None:
        self._watch.on_info(info, time.monotonic())
        self._news.set()

    def _on_event(self, event: QmpEvent) -> None:
        self._watch.on_event(event)
        if event.name == "STOP":
            task = asyncio.create_task(self._ask_why_stopped())
            self._stops.add(task)
            task.add_done_callback(self._stops.discard)
        elif event.name == "SHUTDOWN":
            self.shutdown_reason = str(event.data.get("reason", "unknown"))
        elif event.name == "MIGRATION_PASS":
            self.poll.at_once()
        if self._watch.status == "completed" or self._watch.status == "postcopy-active":
            self.start_take_over()
        self._news.set()

    async def _ask_why_stopped(self) -> None:
        """An operator or a disk error stops a guest too; a QEMU that switches over answers late."""
        with contextlib.suppress(QmpError):
            state = await self._ends.source.query_status(timeout_s=None)
            self._watch.on_stopped(state)
            if self._watch.stopped_s is None and not self.switchover.gone:
                self.helm.deadline_s = None
            self._news.set()

    def silence(self, now_s: float) -> str:
        """Say how long the source has not answered; while it switches over, its monitor is blocked."""
        silent_s = self.poll.silent_s(now_s)
        if not silent_s:
            return ""
        why = (
            "it is switching over" if self._watch.stopped_s is not None else "it may be stopped or overloaded"
        )
        return f"the source has not answered for {silent_s:.0f} s: {why}"

    async def _raise_if_broken(self, now_s: float) -> None:
        if self.poll.ended:
            raise self.source_ended() or self.poll.error or QmpError("source: polling stopped")
        relay = self._ends.relay
        if relay is not None and relay.failed and not self._watch.ended:
            raise await self.why_relay_failed(relay)
        if self._watch.status.startswith("postcopy"):
            if self._watch.status == "postcopy-paused":
                raise LinkError(
                    "post-copy interrupted: the guest is split over both ends; use migrate-recover"
                )
            return  # the guest runs at the destination: too late to break off
        self.helm.raise_if_late(now_s, self._watch.began_s)

    async def why_relay_failed(self, relay: RelayProcess) -> PagethriftError:
        """Return what happened at the source, if that is why the relay ended, else the relay's own error."""
        if error := await self.cause_at_source():
            return error
        failure = await relay.failure()
        if isinstance(failure, StreamError) and failure.cut_off:
            await self.settle(ANSWER_S)
            if self._watch.status == "failed" and self._watch.error.endswith(SHUT_BY_ITSELF):
                return self._cancelled()
        return failure

    async def cause_at_source(self) -> PagethriftError | None:
        """Return what happened at the source, if that is why the relay saw its socket close."""
        try:
            self._watch.on_info(await self._ends.source.query_migrate(timeout_s=ANSWER_S), time.monotonic())
        except QmpError:
            if error := await self._ended_soon():
                return error
        if self._watch.status in ("cancelling", "cancelled"):  # a busy source's event may be all it said
            return self._cancelled()
        return None

    def _cancelled(self) -> CancelledElsewhere:
        return CancelledElsewhere(f"source {self._ends.source.path}: cancelled by another client")

    def source_ended(self) -> SourceEnded | None:
        """Return the error that says so if the source QEMU has ended."""
        source = self._ends.source
        if source.alive or not (source.process_ended or self.shutdown_reason):
            return None
        why = f" ({self.shutdown_reason})" if self.shutdown_reason else ""
        return SourceEnded(f"source {source.path}: the source QEMU ended{why}, and its guest with it")

    async def _ended_soon(self) -> SourceEnded | None:
        """A process whose sockets have closed takes some milliseconds to end."""
        for _ in range(20):
            if error := self.source_ended():
                return error
            await asyncio.sleep(0.05)
        return None

    async def _steer(self, now_s: float) -> None:
        watch = self._watch
        if self._slow and now_s - watch.began_s >= SLOW_START_S:
            self._slow = False
            await self._ends.settings.set({"max-bandwidth": self._full_speed_bps()})
        if not self.switchover.gone and watch.stopped_s is None:
            await self._pace(now_s)
        await self.helm.steer(now_s)
        if self._options.features.post_copy and not self.switchover.gone and watch.stopped_s is None:
            await self._start_post_copy()

    async def _pace(self, now_s: float) -> None:
        """Let rounds take a while until the word to go comes, and run on at full speed after it."""
        if not self._watch.waits_for_go:
            if self._paced_bps:
                self._paced_bps = 0
                await self._ends.settings.set({"max-bandwidth": self._full_speed_bps()})
            return
        facts = self._watch.facts(now_s)
        if facts is None:
            return
        pages = facts.round_dirty_pages[-1] if facts.round else facts.remaining_pages
        bps = waiting_pace_bps(pages * PAGE_BYTES, facts.round)
        if bps > SLOW_START_BPS and not facts.round:
            return
        if self._watch.bandwidth_cap_bps:
            bps = min(bps, self._watch.bandwidth_cap_bps)
        if not self._paced_bps or not 1 / REPACE <= bps / self._paced_bps <= REPACE:
            self._paced_bps = bps
            await self._ends.settings.set({"max-bandwidth": bps})

    def _full_speed_bps(self) -> int:
        """Return max-bandwidth for after the slow start; with a relay, the relay's buffer limits QEMU."""
        if not self._options.plain:
            return 0
        wanted = self._watch.bandwidth_cap_bps
        return int(self._ends.settings.parameters["max-bandwidth"]) if wanted is None else wanted

    async def _start_post_copy(self) -> None:
        if self._post_copy_begun or self._watch.status != "active":
            return
        if self._watch.round >= self._options.features.post_copy_round:
            self._post_copy_begun = True
            await self._ends.source.execute("migrate-start-postcopy")
