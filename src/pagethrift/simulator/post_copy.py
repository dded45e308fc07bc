"""Post-copy: the guest moves at once and faults in the pages it lacks (QEMU migration/postcopy-ram.c).

A trace has writes but no reads, so the number of faults is too low. Faults are played one after the
other, as on one vCPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pagethrift.engine.decisions import Moment
from pagethrift.simulator.kernels import find_faults
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from pagethrift.simulator.virtual_link import VirtualLink
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.simulator.virtual_source import VirtualSource
from pagethrift.strategies.stop.prediction import DEVICE_STATE_BYTES, FIXED_DOWNTIME_S
from pagethrift.stream.encoding.full import FULL_BYTES

FAULT_S = 0.0005
"""time of a fault besides the link: userfault, request, placing the page"""
DISCARD_BITS = 1
"""the discard bitmap, a bit a page, goes before the guest moves"""


@dataclass(frozen=True, slots=True)
class PostCopyEnd:
    """The outcome of a post-copy phase, in virtual seconds."""

    total_s: float
    downtime_s: float
    faults: int
    stalled_s: float

    @property
    def note(self) -> str:
        """One line for the result."""
        return (
            f"post-copy: {self.faults} write faults stalled the guest for {self.stalled_s:.1f} s in all"
            " (a trace has no reads: there would be more)"
        )


def run_post_copy(
    guest: VirtualGuest,
    source: VirtualSource,
    relay: VirtualRelay,
    link: VirtualLink,
    now_s: float,
    now: Moment,
    read_s: Callable[[Snapshot], float],
) -> PostCopyEnd:
    """Move the guest now and send the remaining pages after it; the source's memory no longer changes.

    ``read_s`` returns how long the source needs for some pages, without the link's time.
    """
    delay_s = link.spec.delay_s
    discard_bytes = len(source.bitmap) * DISCARD_BITS // 8
    left_s = link.send(DEVICE_STATE_BYTES + discard_bytes, now_s)
    resumed_s = left_s + delay_s + FIXED_DOWNTIME_S
    arrives_s = np.zeros(len(source.bitmap))
    ready_s = left_s
    while source.remaining:
        pages = source.take(1024, 0.0)
        begin_s = max(link.free_s, ready_s)
        ready_s = begin_s + read_s(pages)
        link.send(relay.thin(pages, now), begin_s)
        step_s = (max(link.free_s, ready_s) - begin_s) / max(1, len(pages))
        arrives_s[pages.page] = begin_s + step_s * np.arange(1, len(pages) + 1) + delay_s - resumed_s
    writes = guest.trace.writes
    cursor, offset_s = guest.position()
    stall_s = FAULT_S + 2 * delay_s + link.seconds(FULL_BYTES, resumed_s)
    faults, stalled_s = find_faults(
        guest.now_s - offset_s, stall_s, cursor, writes.time_s, writes.page, arrives_s
    )
    total_s = max(link.free_s, ready_s) + 2 * delay_s
    return PostCopyEnd(max(total_s, resumed_s + delay_s), resumed_s - now_s, int(faults), float(stalled_s))
