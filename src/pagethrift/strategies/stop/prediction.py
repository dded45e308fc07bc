"""The one prediction of the downtime of a switchover decided now.

Stop rules, the progress line, the result file and the deadline of a switchover all use it.
"""

from __future__ import annotations

from pagethrift.model.facts import StopFacts
from pagethrift.stream.encoding.full import FULL_BYTES

DEVICE_STATE_BYTES = 128 << 10
"""device state and the description QEMU appends: 112 KB measured on a bare pc machine"""

FIXED_DOWNTIME_S = 0.03
"""stopping, saving, loading and starting a guest without any RAM: 20 to 40 ms measured under emulation"""

STOP_DELAY_S = 0.1
"""from the decision to the guest's STOP, while it goes on dirtying: 30 to 110 ms measured over QMP"""


def pending_pages(facts: StopFacts, stop_delay_s: float = 0.0) -> float:
    """Return the pages of the last pass if the guest stopped ``stop_delay_s`` from now.

    QEMU reads the dirty bitmap once more when the guest has stopped: every page written since the
    last reading is in the last pass. In the first pass their number is unknown, so all pages count.
    """
    if facts.round <= 0:
        return float(facts.total_pages)
    since_s = max(0.0, facts.now_s - facts.round_began_s) + stop_delay_s
    return min(float(facts.total_pages), facts.remaining_pages + facts.dirty_pages_per_s * since_s)


def bytes_per_dirty_page(facts: StopFacts) -> float:
    """Return the average link bytes of a page that arrived again, skipped ones included."""
    if facts.retransferred_pages < 64:
        return FULL_BYTES
    return facts.retransferred_bytes / facts.retransferred_pages


def predicted_downtime_s(facts: StopFacts) -> float | None:
    """Return the seconds from STOP to RESUME if the switchover were decided now; None while unknown.

    The downtime is unknown before the link rate is known, and in the first pass: the pages still to come
    may all be zero or all have content, and QEMU reports only at its end how many the guest has written.
    """
    if facts.round <= 0:
        return None
    pages = pending_pages(facts, STOP_DELAY_S)
    owed_bytes = pages * bytes_per_dirty_page(facts)
    downtime_s = _downtime_s(owed_bytes + facts.held_bytes + facts.unsent_bytes, facts.link_bps)
    if downtime_s is None or facts.compressor_pages_per_s <= 0:
        return downtime_s
    return max(downtime_s, FIXED_DOWNTIME_S + (pages + facts.held_pages) / facts.compressor_pages_per_s)


def longest_downtime_s(total_pages: int, link_bps: float) -> float | None:
    """Return the downtime if every page of the guest were sent in full; None while the link rate is unknown.

    This is a bound for deadlines, not a number to show: where pages are zero it is a thousand times too long.
    """
    return _downtime_s(total_pages * FULL_BYTES, link_bps)


def _downtime_s(owed_bytes: float, link_bps: float) -> float | None:
    if link_bps <= 0:
        return None
    return FIXED_DOWNTIME_S + (owed_bytes + DEVICE_STATE_BYTES) / link_bps
