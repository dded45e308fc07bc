"""Numbers that several rooms must agree on, each with its reason.

A number that only one file uses stays in that file.
"""

from __future__ import annotations

DOWNTIME_LIMIT_S = 0.3
"""QEMU's own default of downtime-limit"""

HOLD_BUDGET_BYTES = 64 << 20
"""bytes of pages that a relay may hold back: a sixteenth of a guest of 1 GiB"""

PLANNER_TICK_S = 0.05
"""interval at which the driver polls QEMU and asks the planner; QEMU ends a section of RAM, and so looks at
its own limit, at the same interval (ram.c, MAX_WAIT)"""

RELAY_BUFFER_S = 0.1
"""seconds of link that may wait in the relay: QEMU measures its bandwidth over 0.1 s, and counts what
waits in the relay as sent"""

RELAY_BUFFER_MIN_BYTES = 256 << 10
"""even on slow links the outlet's thread needs something to send while the next batch is made"""

RELAY_BUFFER_MAX_BYTES = 8 << 20
"""0.1 s of a link of 0.67 Gbit/s; faster links find 6 ms or more here, and memory stays small"""

FAST_BPS = 64 << 20
"""half a gigabit a second: on a faster link the processors are what is short"""
RATE_WINDOW_S = 0.2
"""the link's rate is taken over this long: the relay measures it so, the simulator sees it so"""


def relay_buffer_bytes(link_bps: float, seconds: float = RELAY_BUFFER_S) -> float:
    """Return how many bytes may wait in the relay: so many seconds of the link's rate, within limits."""
    return min(RELAY_BUFFER_MAX_BYTES, max(RELAY_BUFFER_MIN_BYTES, link_bps * seconds))


SOURCE_URI = "qemu:///system"
"""of the libvirt whose domains are moved"""
