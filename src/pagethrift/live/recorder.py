"""Recording a trace of a live guest: a dry migration that reads QEMU's rounds at a chosen pace.

The recorder reads a round as fast as it comes, except for its last pages. QEMU blocks on these until the
interval is over, finishes the round, reads its dirty bitmap (the sweep's time) and sends the next round at
once. Slow reading, or a pause between rounds, would leave time between bitmap and content, and pages written
in that time would come again unchanged.

When nothing is dirty, a held QEMU reads its bitmap thousands of times a second, and sends an empty
section and an event each time; it pauses only while we leave those sections unread.

A sweep ends where its round does in the stream, which we may read after QEMU has gone on. How far QEMU can be
ahead of our reading is the tap's; where that is much, so must be what the guest writes in an interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.live.dry_run import DryRun, Watched
from pagethrift.live.qmp import MigrateInfo
from pagethrift.live.recording import LEAST_SWEEPS, Recording, RecordOptions, RecordProgress, Round
from pagethrift.live.tap import HOLD_PAGES
from pagethrift.live.undisturbed import undisturbed
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.stream.events import BodyBegins, BodyEnds, Pages, RamBegins, Signal
from pagethrift.stream.reader import BUFFER_BYTES, StreamReader
from pagethrift.trace.format import TraceHeader
from pagethrift.trace.measure import warm_up_meter

SLOW_START_S = 0.25
"""QEMU knows no bandwidth in its first 100 ms and would switch over after a shorter pass (live/pilot.py)"""
READ_TIMEOUT_S = 0.05
FAR_READ_BYTES = 16 * PAGE_BYTES
REST_S = 5.0
"""for what QEMU and pipes hold when the guest stops"""
UNKNOWN = 1 << 62
ROOM_FACTOR = 2
"""of what QEMU can be ahead: a guest that writes less in an interval lets QEMU go through whole rounds"""
FIRST_INTERVAL_S = 2.0
"""with a tap that lets QEMU go far ahead, while it is not known how much the guest writes"""


async def record(
    guest: Watched, options: RecordOptions, progress: Callable[[RecordProgress], None] = lambda _: None
) -> TraceHeader:
    """Record a trace and return its header; the guest keeps running, its settings are restored.

    Cancelling the task ends the recording early, and keeps the trace if it is long enough to be played, or
    raises CancelledError with what went wrong at the end if only the ``whole`` was asked for.
    Raises QmpError, VirtError, LinkError, StreamError or UsageError.
    """
    options.check()
    warm_up_meter()
    async with guest.dry_run() as run, AsyncExitStack() as stack:
        recording = Recording(options, progress)
        stack.callback(recording.discard)
        recorder = Recorder(options, run, recording)
        stack.push_async_callback(lambda: undisturbed(recorder.end()))
        try:
            await recorder.run()
        except asyncio.CancelledError:
            if options.whole:
                await undisturbed(recorder.end())
                raise asyncio.CancelledError("; ".join(recording.warnings)) from None
            recording.warnings.append("interrupted")
        except PagethriftError as error:
            await undisturbed(recorder.end())
            error.args = ("; ".join((str(error), *recording.warnings)),)
            raise
        await undisturbed(recorder.end())
        return recording.finish(run.identity)


class Recorder:
    """One dry migration into a trace file."""

    def __init__(self, options: RecordOptions, run: DryRun, recording: Recording) -> None:
        self._options = options
        self._run = run
        self._tap = run.tap
        self._recording = recording
        self._reader = StreamReader()
        self._clean = False
        """QEMU's last section had no page: QEMU reads its bitmap again and again, as fast as we read"""
        self._round_ends = UNKNOWN
        """page records QEMU will have sent since the beginning when its round is over"""
        self._passes: dict[int, float] = {}
        self._stopped = asyncio.Event()
        """the guest has stopped, which nobody wanted"""
        self._all_read = False
        """RAM's last section"""
        self._ended = False

    async def run(self) -> None:
        """Record until the time is over or QEMU begins a switchover, as it may of an idle guest."""
        began_s = await self._start()
        count, interval_s = 1, self._interval_s(None)
        first_pass_over_s: float | None = None
        while True:
            read_s = await self._read_round(count, began_s + interval_s)
            count = await self._next_round(count, began_s + interval_s)
            if self._stopped.is_set():
                await self._read_rest()
                return self._note_switchover(began_s, read_s)
            self._recording.finished(Round(self._round_ends, began_s, read_s))
            before_s, began_s = began_s, self._passes.get(count, time.monotonic())
            self._passes = {number: at_s for number, at_s in self._passes.items() if number > count}
            first_pass_over_s = first_pass_over_s or began_s
            over_s = first_pass_over_s + self._options.seconds + self._options.interval_s
            if began_s >= over_s and self._recording.playable:  # on a busy machine a round may take seconds
                return
            last_end = self._round_ends
            self._round_ends = UNKNOWN
            await self._ask(count)
            interval_s = self._interval_s((self._round_ends - last_end) / max(0.001, began_s - before_s))

    async def end(self) -> None:
        """End the dry migration; the guest runs on."""
        if self._ended:
            return
        self._ended = True
        failure = await self._run.end()
        if failure:
            self._recording.warnings.append(failure)

    async def _start(self) -> float:
        """Begin, and return when."""

        def passed(number: int, now_s: float) -> None:
            self._passes[number] = now_s

        self._recording.began_s = began_s = time.monotonic()
        await self._run.begin(passed, self._stop)
        await asyncio.sleep(SLOW_START_S)
        return began_s

    def _stop(self) -> None:
        """The guest has stopped: have QEMU let it run on."""
        self._stopped.set()
        if not self._tap.reads_on:
            self._tap.cut()

    async def _read_rest(self) -> None:
        """Read RAM to its end where that is the way to have the guest run on."""
        self._round_ends = UNKNOWN
        deadline_s = time.monotonic() + REST_S
        while self._tap.reads_on and not self._all_read and time.monotonic() < deadline_s:
            if got := await self._tap.read_into(self._reader.room(BUFFER_BYTES), READ_TIMEOUT_S):
                self._take_in(got)

    def _note_switchover(self, began_s: float, read_s: float) -> None:
        said = (
            f"QEMU {self._run.identity.source_qemu} found the guest idle and began to switch over:"
            f" {self._run.after_stop}, the recording ends here"
        )
        recording = self._recording
        if self._options.idle_counts:
            recording.warnings.append(f"{said}, and the guest is taken for one that writes nothing more")
            recording.fill_up(Round(recording.read_pages, began_s, read_s))
        else:
            recording.warnings.append(f"{said}; {self._run.busy_advice}")

    def _interval_s(self, pages_per_s: float | None) -> float:
        """Return how long the round that begins should last; ``pages_per_s``: what the guest has written."""
        wanted_s, far = self._options.interval_s, self._tap.hold_pages
        if far <= HOLD_PAGES:
            return wanted_s
        most_s = max(wanted_s, self._options.seconds / LEAST_SWEEPS)
        if pages_per_s is None:
            return max(wanted_s, min(most_s, FIRST_INTERVAL_S))
        return max(wanted_s, min(most_s, ROOM_FACTOR * far / max(1.0, pages_per_s)))

    async def _read_round(self, count: int, due_s: float) -> float:
        """Read a round up to its last pages and wait for its time; return the time before that wait."""
        near, tap, recording = False, self._tap, self._recording
        self._round_ends = UNKNOWN
        await self._ask(count)
        while recording.read_pages < self._round_ends - tap.hold_pages and not self._stopped.is_set():
            left = self._round_ends - recording.read_pages
            if left > tap.near_end_pages:
                tap.widen()
            elif not near:
                near = True
                tap.narrow()
                if (await self._ask(count)).dirty_sync_count > count:
                    break
            wanted = min(BUFFER_BYTES, max(PAGE_BYTES, (left - tap.hold_pages) * PAGE_BYTES))
            got = await tap.read_into(self._reader.room(wanted), READ_TIMEOUT_S)
            if got:
                self._take_in(got)
            unsure = not got or self._clean or self._round_ends == UNKNOWN
            if unsure and (await self._ask(count)).dirty_sync_count > count:
                break
        tap.narrow()
        read_s = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due_s - read_s)):
                await self._stopped.wait()
        return read_s

    async def _next_round(self, count: int, due_s: float) -> int:
        """Let QEMU finish its round and read its bitmap again; return the number of that bitmap reading.

        While nothing is dirty, bitmap readings before ``due_s`` are skipped: their sections waited unread.
        """
        if self._tap.hold_pages > HOLD_PAGES:
            return await self._let_on(count)
        while not self._stopped.is_set():
            if self._recording.read_pages >= self._round_ends:
                number = (await self._query()).dirty_sync_count
                early = self._clean and self._passes.get(number, due_s) < due_s
                if number > count and not early:
                    return number
            elif not (got := await self._tap.read_into(self._reader.room(PAGE_BYTES), 0.02)):
                self._round_ends = self._recording.read_pages  # one page fewer than QEMU's counters said
            else:
                self._take_in(got)
                continue
            if got := self._tap.read_now(self._reader.room(PAGE_BYTES)):
                self._take_in(got)
            else:
                await asyncio.sleep(0.0005)
        return count

    async def _let_on(self, count: int) -> int:
        """As `_next_round` where QEMU is far ahead of our reading: read until QEMU has read its bitmap."""
        while not self._stopped.is_set():
            number = (await self._query()).dirty_sync_count
            if number > count:
                return number
            if got := await self._tap.read_into(self._reader.room(FAR_READ_BYTES), READ_TIMEOUT_S):
                self._take_in(got)
        return count

    async def _ask(self, count: int) -> MigrateInfo:
        """Find out where this round ends, from QEMU's counters."""
        info = await self._query()
        sent_pages = info.normal_pages + info.zero_pages
        if info.dirty_sync_count == count:
            self._round_ends = sent_pages + info.remaining_bytes // info.page_bytes
        elif info.dirty_sync_count > count and self._round_ends == UNKNOWN:
            self._round_ends = sent_pages
        return info

    async def _query(self) -> MigrateInfo:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # a library below may have swallowed the cancellation
            raise asyncio.CancelledError
        info = await self._run.counters()
        if info.status in ("failed", "cancelled", "completed", "none") and not self._stopped.is_set():
            raise LinkError(f"the dry migration ended by itself ({info.status}): {info.error or 'no reason'}")
        return info

    def _take_in(self, count: int) -> None:
        self._reader.received(count)
        while (event := self._reader.next_event()) is not Signal.NEED_DATA:
            match event:
                case RamBegins(table=table):
                    self._recording.begin(table)
                case BodyBegins():
                    self._clean = True
                case Pages(batch):
                    self._clean = False
                    self._recording.add(batch, self._round_ends)
                case BodyEnds(last=True):
                    self._all_read = True
                    return self._stop()
                case _:
                    pass
