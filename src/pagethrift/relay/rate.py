"""The rate of the link: how fast all its connections together drain, and how many bytes may wait."""

from __future__ import annotations

from collections.abc import Sequence

from pagethrift.model.defaults import RATE_WINDOW_S, relay_buffer_bytes
from pagethrift.relay.connection import Connection

UNKNOWN_BUFFER_BYTES = 1 << 20
"""until the rate is measured, which takes 0.2 s"""
GUESS_BYTES = 512 << 10
"""enough for a first guess: 20 ms of a link of 200 Mbit/s"""
FAST_BPS = 64 << 20
"""half a gigabit a second"""
NEWEST_SHARE = 0.3
"""weight of the last window in the running mean"""


class LinkRate:
    """Measures over windows in which the link was never idle; ``now_s`` is CLOCK_MONOTONIC."""

    def __init__(self, connections: Sequence[Connection], now_s: float, bps: float = 0.0) -> None:
        """Measure ``connections``; ``bps`` is the rate that the operator gives, 0 if none."""
        self.bps = bps
        """bytes per second, 0 while unknown"""
        self._connections = connections
        self._window = (now_s, 0, False)
        self._first: tuple[float, int] | None = None
        """when the first bytes were written, and how many"""

    def guess(self, now_s: float) -> None:
        """Take a first look while the rate is unknown: what was drained since the first byte was written."""
        if self.bps > 0:
            return
        sent = sum(connection.sent_bytes for connection in self._connections)
        if self._first is None:
            self._first = (now_s, sent)
            return
        drained = sent - self._first[1] - sum(each.unacknowledged_bytes() for each in self._connections)
        if drained >= GUESS_BYTES and now_s > self._first[0]:
            self.bps = drained / (now_s - self._first[0])

    @property
    def bound_bytes(self) -> int:
        """How much may wait: RELAY_BUFFER_S of link, within limits."""
        return UNKNOWN_BUFFER_BYTES if self.bps <= 0 else int(relay_buffer_bytes(self.bps))

    @property
    def fast(self) -> bool:
        """Whether the link is fast, or not known yet."""
        return self.bps <= 0 or self.bps >= FAST_BPS

    def bound_sockets(self) -> None:
        """Let the kernel take ahead of the link at most half of what may wait."""
        for connection in self._connections:
            connection.bound_unsent(self.bound_bytes // 2 // len(self._connections))

    def measure(self, now_s: float, busy: bool) -> None:
        """Look at the connections; ``busy``: bytes have waited to be written ever since the last look."""
        began_s, drained_before, was_busy = self._window
        busy = busy and was_busy
        if now_s - began_s < RATE_WINDOW_S:
            self._window = (began_s, drained_before, busy)
            return
        left = sum(connection.unacknowledged_bytes() for connection in self._connections)
        drained = sum(connection.sent_bytes for connection in self._connections) - left
        # Other threads write between the two sums: what one window misses, the next one has too much.
        bps = max(0, drained - drained_before) / (now_s - began_s)
        if busy and left:
            self.bps = bps if self.bps <= 0 else (1 - NEWEST_SHARE) * self.bps + NEWEST_SHARE * bps
            self.bound_sockets()
        elif bps > self.bps:
            self.bps = bps
        self._window = (now_s, drained, True)
