"""Saying that this host is short of processors, where no prediction of the downtime can be trusted."""

from __future__ import annotations

from pagethrift.model.relay_protocol import RelayStatus

WINDOW_S = 1.0
CROWDED = 0.5
"""of the time in which the relay had work"""
LEAST_WORK_S = 0.05
"""in a window; less says nothing"""


class Crowding:
    """Watches how long the relay's threads wait for a processor: QEMU's wait as long, and longer to stop."""

    def __init__(self) -> None:
        self.warning = ""
        """empty while the relay gets the processors that it needs"""
        self._window = RelayStatus()

    def look(self, status: RelayStatus) -> None:
        """Take in a report of the relay."""
        if not self._window.now_s or status.now_s < self._window.now_s:
            self._window = status
        if status.now_s - self._window.now_s < WINDOW_S:
            return
        waited_s = status.waited_s - self._window.waited_s
        wanted_s = waited_s + status.cpu_s - self._window.cpu_s
        self._window = status
        if wanted_s < LEAST_WORK_S:
            return
        share = waited_s / wanted_s
        self.warning = "" if share < CROWDED else (
            f"this host is short of processors: the relay waits for one in {share:.0%} of the time that it"
            " has work, so the downtime may be longer than predicted"
        )  # fmt: skip
