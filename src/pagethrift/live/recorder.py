"""Recording a trace of a live guest: a dry migration that reads QEMU's rounds at a chosen pace.

QEMU is told to hold (live/switchover.py) and, where it does wait for one, to wait for an acknowledgement
that never comes, so it cannot switch over. The recorder reads a round as fast as it comes, except for its
last pages. QEMU blocks on these until the interval is over, finishes the round, reads its dirty bitmap
(the sweep's time) and sends the next round at once. Slow reading, or a pause between rounds, would leave
time between bitmap and content, and pages written in that time would come again unchanged.

When nothing is dirty, a held QEMU reads its bitmap thousands of times a second, and sends an empty
section and an event each time; it pauses only while we leave those sections unread.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from pagethrift.address import parse_qmp_path
from pagethrift.errors import LinkError, QmpError, UsageError
from pagethrift.live.live_result import identify
from pagethrift.live.preflight import check_source
from pagethrift.live.qmp import MigrateInfo, QmpEvent, QmpMonitor, connected
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.switchover import Switchover, acknowledgement_holds
from pagethrift.live.tap import HOLD_PAGES, NEAR_END_PAGES, Tap, end_dry_migration
from pagethrift.live.undisturbed import undisturbed
from pagethrift.model.pages import PAGE_BYTES, U8, BlockTable, PageBatch
from pagethrift.stream.events import BodyBegins, BodyEnds, Pages, RamBegins, Signal
from pagethrift.stream.reader import BUFFER_BYTES, StreamReader
from pagethrift.trace.format import DeltaSource, TraceHeader
from pagethrift.trace.measure import ZSTD_LEVEL, ZSTD_SHARE, PageMeter, warm_up_meter
from pagethrift.trace.page_classes import read_page_classes
from pagethrift.trace.sweeps import SweepRows
from pagethrift.trace.write import TraceWriter
from pagethrift.whole_file import check_output

SLOW_START_S = 0.25
"""QEMU knows no bandwidth in its first 100 ms and would switch over after a shorter pass (live/pilot.py)"""
READ_TIMEOUT_S = 0.05
UNKNOWN = 1 << 62
LEAST_SWEEPS = 3
"""a shorter trace cannot be played"""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record."""

    source_qmp: str
    """path of the source's QMP unix socket"""
    out: Path
    seconds: float = 60.0
    """how long to record after the first pass"""
    interval_s: float = 0.2
    """from sweep to sweep; 0: as fast as QEMU goes"""
    workload: str = ""
    page_classes: Path | None = None
    """a copy of the guest's /proc/kpageflags"""
    exact_deltas: bool | None = None
    """keep a copy of the guest's memory for byte-exact deltas; None: if half the free memory suffices"""

    def check(self) -> None:
        """Raise UsageError when the options cannot be met; a trace takes its file's place as a whole."""
        if not self.seconds > 0 or self.interval_s < 0:
            raise UsageError("the recording time must be positive, and the interval must not be negative")
        parse_qmp_path(self.source_qmp, "--qmp")
        check_output(self.out, "--out")
        if self.page_classes is not None and not os.access(self.page_classes, os.R_OK):
            raise UsageError(
                f"--page-classes {self.page_classes}: cannot be read; copy the guest's /proc/kpageflags"
            )


@dataclass(frozen=True, slots=True)
class RecordProgress:
    """One look at a running recording."""

    elapsed_s: float
    """since the beginning, the first pass included"""
    sweeps: int
    rows: int
    bytes_written: int
    last_rows: int
    """pages of the last sweep"""


async def record(
    options: RecordOptions, progress: Callable[[RecordProgress], None] = lambda _: None
) -> TraceHeader:
    """Record a trace and return its header; the guest keeps running, QEMU's settings are restored.

    Cancelling the task ends the recording early, and keeps the trace if it is long enough to be played.
    Raises QmpError, LinkError, StreamError or UsageError.
    """
    options.check()
    warm_up_meter()
    async with AsyncExitStack() as stack:
        monitor = await connected(stack, options.source_qmp, "source")
        settings = await BorrowedSettings.of(monitor)
        # the recorder switches multifd off
        state = await check_source(monitor, settings, read_here=True, multifd_set=True, whole_pages=True)
        if state != "running":
            raise QmpError(
                f"source {monitor.path}: its guest is paused and would write nothing; send cont first"
            )
        identity = await identify(monitor, None)
        warnings: list[str] = []
        stack.push_async_callback(lambda: undisturbed(_give_back(settings, warnings)))
        acknowledged = "switchover-ack" in settings.capabilities and acknowledgement_holds(
            monitor.version, identity.machine
        )
        recorder = Recorder(options, monitor, settings, progress, acknowledged)
        stack.callback(recorder.discard)
        stack.push_async_callback(lambda: undisturbed(recorder.end()))
        try:
            await recorder.run()
        except asyncio.CancelledError:
            recorder.warnings.append("interrupted")
        await undisturbed(recorder.end())
        await undisturbed(_give_back(settings, recorder.warnings))
        return recorder.finish(
            source_qemu=identity.source_qemu, machine=identity.machine, accelerator=identity.accelerator
        )


async def _give_back(settings: BorrowedSettings, warnings: list[str]) -> None:
    failure = await settings.restore()
    if failure:
        warnings.append(failure)


class Recorder:
    """One dry migration into a trace file."""

    def __init__(
        self,
        options: RecordOptions,
        monitor: QmpMonitor,
        settings: BorrowedSettings,
        progress: Callable[[RecordProgress], None],
        acknowledged: bool,
    ) -> None:
        """``acknowledged``: QEMU waits for an acknowledgement, and so holds an idle guest too."""
        self.warnings: list[str] = []
        self._options = options
        self._monitor = monitor
        self._settings = settings
        self._progress = progress
        self._acknowledged = acknowledged
        self._tap = Tap()
        self._reader = StreamReader()
        self._writer: TraceWriter | None = None
        self._meter: PageMeter | None = None
        self._classes: U8 | None = None
        self._current: SweepRows | None = None
        self._following: SweepRows | None = None
        self._read_pages = 0
        self._clean = False
        """QEMU's last section had no page: QEMU reads its bitmap again and again, as fast as we read"""
        self._round_ends = UNKNOWN
        """page records QEMU will have sent since the beginning when its round is over"""
        self._began_s = 0.0
        self._passes: dict[int, float] = {}
        self._stopped = False
        self._ended = False
        self._unix_s = time.time()

    async def run(self) -> None:
        """Record until the time is over or QEMU begins a switchover, as it may of an idle guest."""
        await self._start()
        count = 1
        round_began_s = self._began_s
        first_pass_over_s: float | None = None
        while True:
            read_s = await self._read_round(count, round_began_s)
            count = await self._next_round(count, round_began_s + self._options.interval_s)
            if self._stopped:
                return self._note_switchover()
            self._close_sweep(round_began_s, read_s)
            round_began_s = self._passes.get(count, time.monotonic())
            self._passes = {number: at_s for number, at_s in self._passes.items() if number > count}
            first_pass_over_s = first_pass_over_s or round_began_s
            if round_began_s >= first_pass_over_s + self._options.seconds + self._options.interval_s:
                return

    async def end(self) -> None:
        """End the dry migration; the guest runs on."""
        if self._ended:
            return
        self._ended = True
        failure = await end_dry_migration(self._monitor, self._tap)
        self._tap.close()
        if failure:
            self.warnings.append(failure)

    def discard(self) -> None:
        """Remove an unfinished file."""
        if self._writer is not None:
            self._writer.abandon()

    def finish(self, source_qemu: str, machine: str, accelerator: str) -> TraceHeader:
        """Complete the file. Raises UsageError when too little was recorded."""
        writer = self._writer
        if writer is None or writer.sweeps < LEAST_SWEEPS:
            raise UsageError(
                f"the recording is too short to be played; {'; '.join(self.warnings) or 'record longer'}"
            )
        if self._meter is not None and self._meter.forgotten:
            self.warnings.append(
                "too many contents: the oldest were forgotten, so some flips are not recorded"
            )
        writer.close(
            qemu_version=source_qemu,
            machine=machine,
            accelerator=accelerator,
            recorded_unix_s=self._unix_s,
            warnings=tuple(self.warnings),
        )
        return writer.header

    async def _start(self) -> None:
        await self._settings.switch(return_path=True, events=True)
        if self._settings.capabilities.get("multifd"):  # the tap is one socket pair
            await self._settings.switch(multifd=False)
        if self._acknowledged:
            await self._settings.switch(switchover_ack=True)
        await self._settings.set({"max-bandwidth": 0})
        await Switchover(self._settings.set, self._monitor.version).hold()
        self._monitor.on_event(self._on_event)
        self._began_s = time.monotonic()
        await self._tap.open(self._monitor)
        await asyncio.sleep(SLOW_START_S)

    def _on_event(self, event: QmpEvent) -> None:
        if event.name == "MIGRATION_PASS":
            self._passes[int(event.data["pass"])] = event.now_s
        elif event.name == "STOP" and not self._ended:
            self._stopped = True
            self._tap.cut()

    def _note_switchover(self) -> None:
        remedy = "keep it busy"
        if self._monitor.version >= (11, 1, 0):
            remedy += ", or use a machine type before 11.1"
        self.warnings.append(
            f"QEMU {self._monitor.version_text} found the guest idle and began to switch over: the switchover"
            f" was stopped, the guest runs on, the recording ends here; {remedy}"
        )

    async def _read_round(self, count: int, began_s: float) -> float:
        """Read a round up to its last pages and wait for the interval; return the time before that wait."""
        near = False
        self._round_ends = UNKNOWN
        await self._ask(count)
        while self._read_pages < self._round_ends - HOLD_PAGES and not self._stopped:
            left = self._round_ends - self._read_pages
            if left > NEAR_END_PAGES:
                self._tap.widen()
            elif not near:
                near = True
                self._tap.narrow()
                if (await self._ask(count)).dirty_sync_count > count:
                    break
            room = self._reader.room(min(BUFFER_BYTES, max(PAGE_BYTES, (left - HOLD_PAGES) * PAGE_BYTES)))
            got = await self._tap.read_into(room, READ_TIMEOUT_S)
            if got:
                self._take_in(got)
            if (not got or self._clean) and (await self._ask(count)).dirty_sync_count > count:
                break
        self._tap.narrow()
        read_s = time.monotonic()
        wait_s = began_s + self._options.interval_s - read_s
        if wait_s > 0 and not self._stopped:
            await asyncio.sleep(wait_s)
        return read_s

    async def _next_round(self, count: int, due_s: float) -> int:
        """Let QEMU finish its round and read its bitmap again; return the number of that bitmap reading.

        While nothing is dirty, bitmap readings before ``due_s`` are skipped: their sections waited unread.
        """
        while not self._stopped:
            if self._read_pages >= self._round_ends:
                number = (await self._query()).dirty_sync_count
                early = self._clean and self._passes.get(number, due_s) < due_s
                if number > count and not early:
                    return number
            elif not (got := await self._tap.read_into(self._reader.room(PAGE_BYTES), 0.02)):
                self._round_ends = self._read_pages  # one page fewer than QEMU's counters said
            else:
                self._take_in(got)
                continue
            if got := self._tap.read_now(self._reader.room(PAGE_BYTES)):
                self._take_in(got)
            else:
                await asyncio.sleep(0.0005)
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
        info = await self._monitor.query_migrate()
        if info.status in ("failed", "cancelled", "completed", "none") and not self._stopped:
            raise LinkError(f"the dry migration ended by itself ({info.status}): {info.error or 'no reason'}")
        return info

    def _take_in(self, count: int) -> None:
        self._reader.received(count)
        while (event := self._reader.next_event()) is not Signal.NEED_DATA:
            match event:
                case RamBegins(table=table):
                    self._begin(table)
                case BodyBegins():
                    self._clean = True
                case Pages(batch):
                    self._clean = False
                    self._add(batch)
                case BodyEnds(last=True):
                    self._stopped = True
                    self._tap.cut()
                    return
                case _:
                    pass

    def _begin(self, table: BlockTable) -> None:
        options, pages = self._options, table.total_pages
        exact = options.exact_deltas
        if exact is None:
            exact = pages * PAGE_BYTES < _available_bytes() / 2
        self._meter = PageMeter(pages, secrets.token_bytes(32), exact)
        self._current, self._following = SweepRows(pages), SweepRows(pages)
        if options.page_classes is not None:
            self._classes = read_page_classes(options.page_classes, table)
        header = TraceHeader(
            memory_bytes=sum(block.used_bytes for block in table.blocks),
            blocks=tuple((block.name.decode(errors="replace"), block.used_bytes) for block in table.blocks),
            interval_s=options.interval_s,
            delta_source=DeltaSource.EXACT if exact else DeltaSource.SUBPAGES,
            zstd_share=ZSTD_SHARE,
            zstd_level=ZSTD_LEVEL,
            page_classes=self._classes is not None,
            workload=options.workload,
        )
        self._writer = TraceWriter(options.out, header)

    def _add(self, batch: PageBatch) -> None:
        """Count pages into this sweep, and those beyond the round's end into the next one."""
        assert self._meter is not None
        assert self._current is not None
        assert self._following is not None
        here = max(0, min(len(batch), self._round_ends - self._read_pages))
        if here:
            self._current.add(self._meter.measure(batch.part(0, here)))
        if here < len(batch):
            self._following.add(self._meter.measure(batch.part(here, len(batch))))
        self._read_pages += len(batch)

    def _close_sweep(self, began_s: float, read_s: float) -> None:
        if self._writer is None or self._current is None:
            return
        rows = self._current.take(self._classes)
        self._writer.write(rows, began_s - self._began_s, max(0.0, read_s - began_s))
        self._current, self._following = self._following, self._current
        self._progress(
            RecordProgress(
                elapsed_s=time.monotonic() - self._began_s,
                sweeps=self._writer.sweeps,
                rows=self._writer.rows,
                bytes_written=self._writer.bytes_written,
                last_rows=len(rows),
            )
        )


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
