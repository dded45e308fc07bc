"""Saying that this host is short of processors, where no prediction of the downtime can be trusted."""

from __future__ import annotations

import os
from pathlib import Path

WINDOW_S = 2.0
CROWDED = 0.7
"""a migration alone, both guests and the load on two processors, makes 0.2 to 0.4; with another process
that never rests 0.5, with two 0.8 to 1.0, and the migration takes two to three times as long"""
IDLE = 0.3
"""of the processors: with more than that left, what waits is bound to a few of many processors"""
PRESSURE, PROCESSORS = Path("/proc/pressure/cpu"), Path("/proc/stat")


def waited_s(path: Path = PRESSURE) -> float | None:
    """Return the seconds so far in which work waited for a processor; None where the kernel does not say.

    An average over the processors: Documentation/accounting/psi.rst, ``some``.
    """
    try:
        line = path.read_text().partition("\n")[0]
        return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


def idle_s(path: Path = PROCESSORS) -> float:
    """Return how many seconds each processor has been idle so far, on average; 0 where that is not known."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith("cpu")]
        return (int(lines[0][4]) + int(lines[0][5])) / os.sysconf("SC_CLK_TCK") / (len(lines) - 1)
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return 0.0


class Crowding:
    """Watches in which share of the time work has waited for a processor lately."""

    def __init__(self, pressure: Path = PRESSURE, processors: Path = PROCESSORS) -> None:
        self.warning = ""
        """empty while the processors suffice"""
        self._pressure = pressure
        self._processors = processors
        self._window: tuple[float, float, float] | None = None

    def look(self, now_s: float) -> None:
        """Take a look, at most every WINDOW_S."""
        if self._window is not None and now_s - self._window[0] < WINDOW_S:
            return
        self.warning = ""
        waited = waited_s(self._pressure)
        if waited is None:
            return
        before, self._window = self._window, (now_s, waited, idle_s(self._processors))
        if before is None:
            return
        took_s, waiting_s, idle = (now - then for now, then in zip(self._window, before, strict=True))
        if waiting_s >= CROWDED * took_s and idle < IDLE * took_s:
            self.warning = (
                f"this host is short of processors: work waited for one {min(1, waiting_s / took_s):.0%}"
                " of the time, so the downtime may be longer than predicted"
            )
