"""A cap on what goes on the link: all connections together wait while more went out than it allows.

The cap acts as a link of that rate would: after a write, so many bytes are on their way for so long. The
rate is measured of it as of a real link, so prediction and buffers fit without knowing of it.
"""

from __future__ import annotations

import threading
import time


class Pace:
    """No cap at first; ``now_s`` is CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self.bps = 0.0
        """bytes per second, 0: no cap"""
        self._free_s = 0.0
        """when the cap has carried what was written"""
        self._lock = threading.Lock()

    def set(self, bps: float) -> None:
        """Cap the link from now on; 0 lifts the cap. What went out before is forgotten."""
        with self._lock:
            self.bps, self._free_s = bps, 0.0

    def wrote(self, count: int, now_s: float) -> None:
        """Take note of bytes written."""
        if self.bps:
            with self._lock:
                self._free_s = max(self._free_s, now_s) + count / self.bps if self.bps else 0.0

    def delay_s(self, now_s: float) -> float:
        """Return how long to wait before the next write; 0 without a cap."""
        return max(0.0, self._free_s - now_s) if self.bps else 0.0

    @property
    def busy(self) -> bool:
        """Whether the cap holds somebody back now."""
        return self.bps > 0 and self.delay_s(time.monotonic()) > 0
