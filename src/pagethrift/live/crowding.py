"""Saying that this host is short of processors, where no prediction of the downtime can be trusted."""

from __future__ import annotations

from pathlib import Path

WINDOW_S = 2.0
CROWDED = 0.7
"""a migration alone, both guests and the load on two processors, makes 0.2 to 0.4; with another process
that never rests 0.5, with two 0.8 to 1.0, and the migration takes two to three times as long"""
PRESSURE = Path("/proc/pressure/cpu")


def waited_s(path: Path = PRESSURE) -> float | None:
    """Return the seconds so far in which work waited for a processor; None where the kernel does not say.

    An average over the processors: Documentation/accounting/psi.rst, ``some``.
    """
    try:
        line = path.read_text().partition("\n")[0]
        return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


class Crowding:
    """Watches in which share of the time work has waited for a processor lately."""

    def __init__(self, path: Path = PRESSURE) -> None:
        self.warning = ""
        """empty while the processors suffice"""
        self._path = path
        self._window: tuple[float, float] | None = None

    def look(self, now_s: float) -> None:
        """Take a look, at most every WINDOW_S."""
        if self._window is not None and now_s - self._window[0] < WINDOW_S:
            return
        waited = waited_s(self._path)
        if waited is None:
            return
        before, self._window = self._window, (now_s, waited)
        if before is None:
            return
        share = (waited - before[1]) / (now_s - before[0])
        self.warning = ""
        if share >= CROWDED:
            self.warning = (
                f"this host is short of processors: work waited for one {min(share, 1):.0%} of the time,"
                " so the downtime may be longer than predicted"
            )
