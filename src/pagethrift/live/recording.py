"""The sweeps of one recording: page records go into a trace file, divided where QEMU's rounds end."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.live.live_result import Identity
from pagethrift.model.pages import PAGE_BYTES, U8, BlockTable, PageBatch
from pagethrift.trace.format import DeltaSource, TraceHeader
from pagethrift.trace.measure import ZSTD_LEVEL, ZSTD_SHARE, PageMeter
from pagethrift.trace.page_classes import read_page_classes
from pagethrift.trace.sweeps import SweepRows
from pagethrift.trace.write import TraceWriter
from pagethrift.whole_file import check_output

LEAST_SWEEPS = 3
"""a shorter trace cannot be played"""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record."""

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
    idle_counts: bool = False
    """what QEMU finds idle counts as a guest that writes nothing, instead of too short a recording"""
    whole: bool = False
    """a recording that is broken off is none"""

    def check(self) -> None:
        """Raise UsageError when the options cannot be met; a trace takes its file's place as a whole."""
        if not self.seconds > 0 or self.interval_s < 0:
            raise UsageError("the recording time must be positive, and the interval must not be negative")
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


@dataclass(frozen=True, slots=True)
class Round:
    """A round that QEMU has finished, though its last pages may wait unread."""

    end: int
    """page records since the beginning"""
    began_s: float
    """CLOCK_MONOTONIC"""
    read_s: float
    """when we stopped reading it, except for its last pages"""


class Recording:
    """One trace file while it is written."""

    def __init__(self, options: RecordOptions, progress: Callable[[RecordProgress], None]) -> None:
        self.began_s = 0.0
        """CLOCK_MONOTONIC at the beginning of the first pass"""
        self.warnings: list[str] = []
        self.read_pages = 0
        """page records so far"""
        self._options = options
        self._progress = progress
        self._unix_s = time.time()
        self._writer: TraceWriter | None = None
        self._meter: PageMeter | None = None
        self._classes: U8 | None = None
        self._current: SweepRows | None = None
        self._following: SweepRows | None = None
        self._unread: deque[Round] = deque()

    @property
    def playable(self) -> bool:
        """Whether enough sweeps are written."""
        return self._writer is not None and self._writer.sweeps >= LEAST_SWEEPS

    def begin(self, table: BlockTable) -> None:
        """Begin the file. Raises UsageError."""
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

    def add(self, batch: PageBatch, round_ends: int) -> None:
        """Count pages into this sweep, and those beyond ``round_ends`` of QEMU's round into the next one."""
        assert self._meter is not None
        assert self._current is not None
        assert self._following is not None
        while len(batch):
            end = self._unread[0].end if self._unread else round_ends
            here = max(0, min(len(batch), end - self.read_pages))
            if not here:  # QEMU has passed the end, and `finished` comes later
                self._following.add(self._meter.measure(batch))
                self.read_pages += len(batch)
                return
            self._current.add(self._meter.measure(batch.part(0, here)))
            self.read_pages += here
            batch = batch.part(here, len(batch))
            self._close_read()

    def finished(self, round: Round) -> None:
        """QEMU has finished a round: its sweep is written as soon as it is read to its end."""
        self._unread.append(round)
        self._close_read()

    def fill_up(self, last: Round) -> None:
        """Close the sweep that is being read, and write empty ones up to the time that was asked for."""
        self._unread.clear()
        self.finished(last)
        began_s = max(last.began_s + self._options.interval_s, last.read_s)
        while self._writer is not None and self._writer.sweeps < LEAST_SWEEPS - 1:
            self.finished(Round(self.read_pages, began_s, began_s))
            began_s += self._options.interval_s
        began_s = max(began_s, self.began_s + self._options.seconds)
        self.finished(Round(self.read_pages, began_s, began_s))

    def discard(self) -> None:
        """Remove an unfinished file."""
        if self._writer is not None:
            self._writer.abandon()

    def finish(self, identity: Identity) -> TraceHeader:
        """Complete the file. Raises UsageError when too little was recorded."""
        writer = self._writer
        if writer is None or not self.playable:
            raise UsageError(
                f"the recording is too short to be played; {'; '.join(self.warnings) or 'record longer'}"
            )
        if self._meter is not None and self._meter.forgotten:
            self.warnings.append(
                "too many contents: the oldest were forgotten, so some flips are not recorded"
            )
        writer.close(
            qemu_version=identity.source_qemu,
            machine=identity.machine,
            accelerator=identity.accelerator,
            recorded_unix_s=self._unix_s,
            warnings=tuple(self.warnings),
        )
        return writer.header

    def _close_read(self) -> None:
        """Write the sweeps of the rounds that were read to their ends."""
        while self._unread and self.read_pages >= self._unread[0].end:
            self._close(self._unread.popleft())

    def _close(self, round: Round) -> None:
        if self._writer is None or self._current is None:
            return
        rows = self._current.take(self._classes)
        self._writer.write(rows, round.began_s - self.began_s, max(0.0, round.read_s - round.began_s))
        self._current, self._following = self._following, self._current
        self._progress(
            RecordProgress(
                elapsed_s=time.monotonic() - self.began_s,
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
