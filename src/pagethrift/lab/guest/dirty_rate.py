"""How fast a guest really changes its memory, measured by its QEMU before the migration."""

from __future__ import annotations

import time

from pagethrift.errors import LabError, QmpError
from pagethrift.lab.guest.monitor import Monitor

WINDOW_S = 1
# QEMU's maximum: 4096 pages of each GiB are hashed twice. The default, 512, rarely finds 100 of 130 000.
_SAMPLES_PER_GIB = 4096
_MIB = 1 << 20
_ANSWER_WITHIN_S = 20.0


def dirty_rate(monitor: Monitor) -> int:
    """Return bytes per second in pages that changed within a second, to 1 MiB (QEMU's resolution).

    QEMU samples pages and compares contents, which works under TCG (where dirty-bitmap mode reports 0).
    Takes a little over a second. Raises QmpError.
    """
    arguments = {"calc-time": WINDOW_S, "mode": "page-sampling", "sample-pages": _SAMPLES_PER_GIB}
    monitor.execute("calc-dirty-rate", arguments)
    gives_up_s = time.monotonic() + _ANSWER_WITHIN_S
    time.sleep(WINDOW_S)
    while time.monotonic() < gives_up_s:
        answer = monitor.execute("query-dirty-rate")
        if answer["status"] == "measured":
            return int(answer["dirty-rate"]) * _MIB
        time.sleep(0.05)
    raise QmpError(f"QEMU has not measured its dirty rate within {_ANSWER_WITHIN_S:.0f} s; try again")


def require_dirty_rate(found_bps: int, least_bps: int, scenario: str) -> None:
    """Raise LabError when the guest writes less than its scenario says: idle guests must not be compared."""
    if found_bps < least_bps:
        raise LabError(
            f"the guest of {scenario} changes {found_bps / _MIB:.0f} MiB/s, the scenario requires"
            f" {least_bps / _MIB:.0f} MiB/s (timing.min_dirty_rate); check its load and activity"
        )
