"""Which pages wait, since when, and at what cost in bytes; without their contents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagethrift.model.pages import I32, I64, Bools

_FIRST_SLOTS = 256


class HeldPages:
    """At most ``budget_pages`` pages, one slot each; memory is taken as slots are used."""

    def __init__(self, total_pages: int, budget_pages: int) -> None:
        self.budget_pages = budget_pages
        self.held_bytes = 0
        """estimated bytes on the link if all held pages were forwarded now"""
        self.page_in: I64 = np.full(0, -1, np.int64)
        """for each slot: its page, -1 if it is free"""
        self.since_s: npt.NDArray[np.float64] = np.zeros(0)
        self.since_round: I64 = np.zeros(0, np.int64)
        self.size: I32 = np.zeros(0, np.int32)
        """estimated bytes of each on the link, from when it came in"""
        self._slot_of: I32 = np.zeros(total_pages, np.int32)
        """slot + 1, or 0: zeros cost no memory until written"""
        self._free: I64 = np.zeros(0, np.int64)
        """a stack of free slots"""
        self._frees = 0

    def __len__(self) -> int:
        return len(self.page_in) - self._frees

    def slots(self, pages: I64) -> I64:
        """Return each page's slot, -1 for pages that are not held."""
        return self._slot_of[pages].astype(np.int64) - 1

    def sizes_of(self, pages: I64) -> I32:
        """Return the estimated bytes of each page's held version, 0 for pages that are not held."""
        slots = self.slots(pages)
        sizes: I32 = np.where(slots >= 0, self.size[slots], 0).astype(np.int32)
        return sizes

    def take(self, pages: I64, sizes: I32, now_s: float, round_: int) -> Bools:
        """Hold pages (each once): a page already held keeps its slot, others get free slots.

        Returns which pages have a slot.
        """
        slots = self.slots(pages)
        new = np.flatnonzero(slots < 0)
        self._grow(len(new))
        fit = new[: self._frees]
        self._frees -= len(fit)
        slots[fit] = self._free[self._frees : self._frees + len(fit)]
        kept: Bools = slots >= 0
        into, index = slots[kept], np.flatnonzero(kept)
        self.held_bytes += int(sizes[index].sum(dtype=np.int64)) - int(self.size[into].sum(dtype=np.int64))
        self._slot_of[pages[index]] = (into + 1).astype(np.int32)
        self.page_in[into] = pages[index]
        self.since_s[into] = now_s
        self.since_round[into] = round_
        self.size[into] = sizes[index]
        return kept

    def drop(self, pages: I64) -> None:
        """Free the pages' slots; pages that are not held are ignored."""
        slots = self.slots(pages)
        slots = slots[slots >= 0]
        self.held_bytes -= int(self.size[slots].sum(dtype=np.int64))
        self._slot_of[self.page_in[slots]] = 0
        self.page_in[slots] = -1
        self.size[slots] = 0
        self._free[self._frees : self._frees + len(slots)] = slots
        self._frees += len(slots)

    def used(self) -> I64:
        """Return the slots in use."""
        return np.flatnonzero(self.page_in >= 0)

    def _grow(self, wanted: int) -> None:
        have = len(self.page_in)
        missing = wanted - self._frees
        if missing <= 0 or have >= self.budget_pages:
            return
        size = min(self.budget_pages, max(have + missing, 2 * have, _FIRST_SLOTS))
        more = size - have
        self.page_in = np.concatenate([self.page_in, np.full(more, -1, np.int64)])
        self.since_s = np.concatenate([self.since_s, np.zeros(more)])
        self.since_round = np.concatenate([self.since_round, np.zeros(more, np.int64)])
        self.size = np.concatenate([self.size, np.zeros(more, np.int32)])
        free = np.zeros(size, np.int64)
        free[: self._frees] = self._free[: self._frees]
        free[self._frees : self._frees + more] = np.arange(size - 1, have - 1, -1)
        self._free = free
        self._frees += more
