"""The rate of the link: how fast all its connections together drain, and how many bytes may wait."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pagethrift.model.defaults import FAST_BPS, RATE_WINDOW_S, relay_buffer_bytes
from pagethrift.relay.connection import Connection

UNKNOWN_BUFFER_BYTES = 1 << 20
"""until the rate is measured"""
LOOK_BYTES = 512 << 10
"""less than that says nothing of a link: 20 ms of 200 Mbit/s"""
LOOK_S = 0.02
"""a first look at a link that was never idle takes at least this long"""
SHORT_WINDOW_S = 0.05
"""while pages go plain for its sake"""
NEWEST_SHARE = 0.3
"""weight of the last window in the running mean"""


class LinkRate:
    """Measures over windows in which the link was never idle; ``now_s`` is CLOCK_MONOTONIC."""

    def __init__(self, connections: Sequence[Connection], now_s: float, bps: float = 0.0) -> None:
        """Measure ``connections``; ``bps`` is the rate that the operator gives, 0 if none."""
        self.bps = bps
        """bytes per second, 0 while unknown"""
        self.known = bps > 0
        """False: ``bps`` is 0, or of so few bytes that the link may as well be much faster"""
        self.full_s = now_s if bps > 0 else 0.0
        """when a window ended in which the link was never idle; 0: none has"""
        self._connections = connections
        self._cap_bps = 0.0
        self._window = (now_s, 0, True)
        self._short_until_s = 0.0

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

    def explore(self, now_s: float, until_s: float) -> None:
        """Begin a short window; the next ones are short as well, until the link is seen full."""
        self._window, self._short_until_s = (now_s, self._drained()[0], True), until_s

    def capped(self, bps: float, now_s: float) -> None:
        """Believe at once that the link is no faster than a cap; a cap that is lifted has to be measured."""
        self._cap_bps = bps
        self._window = (now_s, self._drained()[0], True)  # what went out before says nothing of the cap
        if bps and (self.bps <= 0 or bps < self.bps):
            self.bps, self.known, self.full_s = bps, True, now_s
            self.bound_sockets()

    def measure(self, now_s: float, busy: bool, paced: bool = False) -> None:
        """Look at the connections; ``busy``: bytes have waited to be sent ever since the last look.

        ``paced``: a cap holds the writers back, as a full link would.
        """
        began_s, drained_before, was_busy = self._window
        busy = busy and was_busy
        self._window = (began_s, drained_before, busy)
        took_s = now_s - began_s
        short = now_s < self._short_until_s
        whole = took_s >= (SHORT_WINDOW_S if short else RATE_WINDOW_S)
        if not whole and (self.known or not busy or took_s < LOOK_S):
            return
        drained, left = self._drained()
        count = max(0, drained - drained_before)
        bps = min(count / took_s, self._cap_bps or math.inf)
        if not whole:
            if count >= LOOK_BYTES:
                self.bps, self.known = bps, True
            return
        if busy and (left or paced):
            # what was believed of an explored link is what compressors fed it
            share = 1.0 if not self.full_s or (short and bps > self.bps) else NEWEST_SHARE
            self._short_until_s = 0.0
            self.bps, self.known, self.full_s = (1 - share) * self.bps + share * bps, True, now_s
            self.bound_sockets()
        elif bps > self.bps:
            self.bps, self.known = bps, self.known or drained >= LOOK_BYTES
        self._window = (now_s, drained, True)

    def _drained(self) -> tuple[int, int]:
        """Return how many bytes have left so far, and how many have not."""
        # Other threads write between the two sums: what one window misses, the next one has too much.
        left = sum(connection.unacknowledged_bytes() for connection in self._connections)
        return sum(connection.sent_bytes for connection in self._connections) - left, left
