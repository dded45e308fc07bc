"""The guest of a simulation: its memory as content ids, played from a trace on its own clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.model.pages import F64, I32, I64, U8, U16, U32
from pagethrift.simulator.kernels import play_writes, read_dirty
from pagethrift.trace.read import Trace


@dataclass(slots=True)
class Snapshot:
    """Pages as the source read them, as arrays of one length."""

    page: I64
    content: I64
    sparse: U16
    mask: U32
    """subpages that changed since the source last read the page"""
    delta: I32
    """byte-exact delta bytes since the last reading, summed over the writes"""
    guest_s: F64
    """guest time at which each was read"""

    @classmethod
    def room(cls, count: int) -> Snapshot:
        """Return empty arrays to be filled."""
        return cls(
            np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.uint16),
            np.empty(count, np.uint32), np.empty(count, np.int32), np.empty(count, np.float64),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.page)

    def part(self, start: int, stop: int) -> Snapshot:
        """Return the pages start..stop-1 as views."""
        cut = slice(start, stop)
        return Snapshot(
            self.page[cut], self.content[cut], self.sparse[cut], self.mask[cut], self.delta[cut],
            self.guest_s[cut],
        )  # fmt: skip


class VirtualGuest:
    """Writes as in the trace, loop after loop; a throttled guest's clock runs slower.

    ``content``: an id for each page, 0 = zero. ``since_mask`` and ``since_delta``: the changes since the
    source last read the page.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        n = trace.pages
        self.content: I64 = trace.content.astype(np.int64)
        self.sparse: U16 = trace.sparse_bytes.copy()
        self.since_mask: U32 = np.zeros(n, np.uint32)
        self.since_delta: I32 = np.zeros(n, np.int32)
        self.log: U8 = np.zeros(n, np.uint8)
        self.written_s: F64 = np.full(n, -1.0)
        """guest time of each page's last write"""
        self.now_s = 0.0
        """guest time"""
        self.speed = 1.0
        """guest seconds in a second: below 1 while throttled, 0 while stopped"""
        self.loops = 0
        """how often the trace began again"""
        self._cursor = 0

    def run(self, seconds: float) -> None:
        """Let the guest run for a wall time."""
        self.run_to(self.now_s + seconds * self.speed)

    def run_to(self, guest_s: float) -> None:
        """Apply writes up to a guest time; earlier times do nothing."""
        if guest_s <= self.now_s:
            return
        self.now_s = guest_s
        writes, length_s = self.trace.writes, self.trace.duration_s
        if not len(writes):
            return
        while True:
            self._cursor = play_writes(
                guest_s, self.loops * length_s, self.loops, self._cursor,
                writes.time_s, writes.page, writes.content, writes.changed, writes.delta_bytes,
                writes.sparse_bytes, self.content, self.sparse, self.since_mask, self.since_delta, self.log,
                self.written_s,
            )  # fmt: skip
            if self._cursor < len(writes) or (self.loops + 1) * length_s > guest_s:
                return
            self.loops += 1
            self._cursor = 0

    def read_pages(
        self, bitmap: U8, position: int, chunk_pages: int, cleared: U8, step_s: float, room: Snapshot
    ) -> int:
        """Fill ``room`` with the next dirty pages while the guest goes on writing; return the position after.

        ``step_s``: guest seconds between two pages. ``bitmap`` has at least as many pages as the room.
        """
        writes, length_s = self.trace.writes, self.trace.duration_s
        done = 0
        begin_s = self.now_s
        while done < len(room):
            done, position, self._cursor, wraps = read_dirty(
                bitmap, position, done, begin_s, step_s, chunk_pages, cleared,
                self.loops * length_s, (self.loops + 1) * length_s, self.loops, self._cursor,
                writes.time_s, writes.page, writes.content, writes.changed, writes.delta_bytes,
                writes.sparse_bytes, self.content, self.sparse, self.since_mask, self.since_delta, self.log,
                self.written_s,
                room.page, room.content, room.sparse, room.mask, room.delta, room.guest_s,
            )  # fmt: skip
            if wraps:
                self.loops += 1
                self._cursor = 0
        if len(room):
            self.now_s = float(room.guest_s[-1])
        return position

    def position(self) -> tuple[int, float]:
        """Return the next write's index and the time the current loop began, in guest seconds."""
        return self._cursor, self.loops * self.trace.duration_s
