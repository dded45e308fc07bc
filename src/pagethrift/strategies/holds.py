"""Functions that several hold answers share: bounds that keep holding harmless in a relay.

For QEMU, a page that it has sent is clean. The relay keeps the newest copy, and a page written again
arrives again. Held bytes cost blackout when they are released at the end, so they may fill only a
share of what the link carries within the downtime limit.
"""

from __future__ import annotations

import numpy as np

from pagethrift.model.pages import U8, Bools
from pagethrift.strategies.base import HeldFacts, PageFacts

ONES: U8 = np.array([value.bit_count() for value in range(256)], np.uint8)
"""bits set in a byte"""


def rounds_changed(history: U8, round_: int, rounds: int) -> U8:
    """Return in how many of the last ``rounds`` rounds each page arrived changed.

    At most 8 rounds are known; round 0, in which every page arrives, is never among them.
    """
    seen = max(0, min(rounds, round_, 8))
    counts: U8 = ONES[history & np.uint8((1 << seen) - 1)]
    return counts


def fitting(wish: Bools, facts: PageFacts, share: float) -> Bools:
    """Return which of the wished pages fit ``share`` x downtime limit x link rate, least growth first.

    No page fits while the link rate is unknown; every page fits in a simulator that holds as defined.
    """
    if facts.as_defined or not wish.any():
        return wish
    room_bytes = share * facts.downtime_limit_s * facts.link_bps - facts.held_bytes
    growth = facts.sizes if facts.held_sizes is None else np.maximum(0, facts.sizes - facts.held_sizes)
    chosen = np.flatnonzero(wish)
    chosen = chosen[np.argsort(growth[chosen], kind="stable")]
    kept = chosen[np.cumsum(growth[chosen], dtype=np.int64) <= room_bytes]
    fits: Bools = np.zeros(len(wish), np.bool_)
    fits[kept] = True
    return fits


def overflowing(facts: HeldFacts, share: float) -> Bools:
    """Return the held pages beyond the bound of `fitting` (the link became slower), longest quiet first."""
    over: Bools = np.zeros(len(facts.pages), np.bool_)
    if facts.as_defined or facts.sizes is None:
        return over
    newest_first = np.argsort(-facts.since_s, kind="stable")
    bound_bytes = share * facts.downtime_limit_s * facts.link_bps
    over[newest_first] = np.cumsum(facts.sizes[newest_first], dtype=np.int64) > bound_bytes
    return over


def quiet(facts: HeldFacts) -> Bools:
    """Return the held pages that did not arrive for one whole round: not written in the round before it."""
    return np.asarray(facts.since_round + 2 <= facts.round, np.bool_)
