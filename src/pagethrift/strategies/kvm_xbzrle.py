"""QEMU's XBZRLE: deltas against a cache of pages sent before (Svärd et al., VEE 2011; ram.c, page_cache.c).

From round 1 on a page that is in the cache travels as a delta, and not at all if it is unchanged; a
miss travels in full and enters the cache. The cache is direct-mapped, slot = page number & (slots - 1);
a page used within the last two rounds is not pushed out. The last pass adds nothing to the cache.

Live: QEMU's own feature, without the relay (the relay's ledger needs no cache):
`pagethrift migrate --plain --xbzrle-cache 64MiB`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.methods import Allow
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8
from pagethrift.strategies.base import HoldNothing, PageFacts, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import PendingFits

LIFETIME_ROUNDS = 2
"""CACHED_PAGE_LIFETIME"""


@kernel
def _look_up(pages: I64, round_: int, fills: bool, lifetime: int, tags: I64, ages: I32, hits: U8) -> None:
    """Write 1 for each hit; ``tags``: page + 1 in each slot, 0 = empty; ``ages``: round of the last use."""
    slots = len(tags)
    for i in range(len(pages)):
        slot = pages[i] & (slots - 1)
        hits[i] = tags[slot] == pages[i] + 1
        if hits[i]:
            ages[slot] = round_
        elif fills and (tags[slot] == 0 or ages[slot] + lifetime <= round_):
            tags[slot] = pages[i] + 1
            ages[slot] = round_


@dataclass(slots=True)
class XbzrleCache:
    """Allows a delta, or nothing at all, for pages that are in the cache."""

    cache_mib: float = 64
    """rounded down to a power of two of pages, as QEMU demands"""
    _tags: I64 = field(init=False, compare=False, repr=False)
    _ages: I32 = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make an empty cache; zeros cost no memory until written."""
        pages = max(1, int(self.cache_mib * (1 << 20)) // PAGE_BYTES)
        slots = 1 << (pages.bit_length() - 1)
        self._tags = np.zeros(slots, np.int64)
        self._ages = np.zeros(slots, np.int32)

    def allow(self, facts: PageFacts) -> Allow | U8:
        """Look the pages up in order, and let misses into the cache."""
        if facts.round < 1:
            return Allow.NOTHING
        hits: U8 = np.empty(len(facts.pages), np.uint8)
        _look_up(facts.pages, facts.round, not facts.last, LIFETIME_ROUNDS, self._tags, self._ages, hits)
        return hits * np.uint8(Allow.SKIP | Allow.DELTA)


def kvm_xbzrle(cache_mib: float = 64) -> Strategy:
    """Return the row; ``cache_mib``: xbzrle-cache-size in MiB."""
    return Strategy(
        name="kvm-xbzrle",
        summary="deltas against a direct-mapped cache of pages sent before",
        source="QEMU migration/ram.c, page_cache.c",
        status=Status.EXACT,
        signing=Signing.SUBPAGES,
        hold=HoldNothing(),
        encode=XbzrleCache(cache_mib),
        stop=PendingFits(),
        qemu_decides=True,
        parameters={"cache_mib": cache_mib},
        refuses_live=(
            "strategy kvm-xbzrle: XBZRLE is QEMU's own, outside the relay; use --plain --xbzrle-cache 64MiB"
        ),
    )
