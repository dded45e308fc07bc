"""Reading as slowly as the link near the end of a round, where QEMU itself decides when to switch over.

QEMU takes the rate at which the relay reads for the link's, over windows of 100 ms, and stops its guest when
what is left takes no longer than its downtime limit at that rate (migration/migration.c). A relay that skips
and compresses reads faster than the link carries, so QEMU would stop too early: 531 to 837 ms were seen where
300 were allowed. Near a round's end, where QEMU looks, reading is therefore no faster than the link, less
what already waits for it. Elsewhere the relay reads as fast as it can.
"""

from __future__ import annotations

WINDOW_S = 0.1
"""over which QEMU measures"""
AHEAD_S = 0.15
"""before QEMU would look, reading slows down: a window, and what lies in its socket"""
FIXED_S = 0.06
"""of the downtime that no byte takes: stopping, the device state, starting"""
LEAST_SHARE = 0.2
"""of the link's rate: what waits may not stop the round altogether"""
STEP_S = 0.02


class ReadingPace:
    """How long to wait before the next bytes are read; ``now_s`` is CLOCK_MONOTONIC."""

    def __init__(self, downtime_limit_s: float, page_bytes: int) -> None:
        self.limit_s = downtime_limit_s
        """in force now"""
        self._page_bytes = page_bytes
        self._window = (0.0, 0)
        self._in_bps = 0.0
        self._allowed: tuple[float, int] | None = None
        """since when reading is slow, and how much had been read then"""

    def wait_s(
        self, now_s: float, in_bytes: int, pages_left: int | None, link_bps: float, owed_bytes: int
    ) -> float:
        """Return how long to wait, at most STEP_S at a time: then ask again.

        ``in_bytes``: read so far. ``pages_left``: of this round. ``owed_bytes``: read, and not on the link.
        """
        since_s, before = self._window
        if now_s - since_s >= WINDOW_S:
            self._in_bps = (in_bytes - before) / (now_s - since_s)
            self._window = (now_s, in_bytes)
        if pages_left is None or link_bps <= 0 or self.limit_s <= 0:
            self._allowed = None
            return 0.0
        fastest_bps = max(link_bps, self._in_bps)
        if pages_left * self._page_bytes > fastest_bps * (self.limit_s + AHEAD_S):
            self._allowed = None
            return 0.0
        left_s = self.limit_s - FIXED_S - owed_bytes / link_bps
        bps = link_bps * min(1.0, max(LEAST_SHARE, left_s / self.limit_s))
        if self._allowed is None:
            self._allowed = (now_s, in_bytes)
        began_s, had = self._allowed
        ahead_s = (in_bytes - had) / bps - (now_s - began_s)
        if ahead_s < -WINDOW_S:  # what was not read in time is not owed
            self._allowed = (now_s, in_bytes)
        return min(STEP_S, max(0.0, ahead_s))
