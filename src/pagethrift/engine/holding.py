"""The hold buffer: the newest content of pages that wait in the relay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagethrift.kernels import copy_bytes, kernel
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, PageBatch


@kernel
def _store(pool: U8, slots: I64, buffer: U8, positions: I64, kinds: U8) -> None:
    for i in range(len(slots)):
        at = slots[i] * PAGE_BYTES
        if kinds[i] == 0:
            pool[at : at + PAGE_BYTES] = 0
        else:
            copy_bytes(pool, at, buffer, positions[i], PAGE_BYTES)


class HoldBuffer:
    """At most ``budget_pages`` pages, one slot each; memory is taken as slots are used."""

    def __init__(self, total_pages: int, budget_pages: int) -> None:
        self.budget_pages = budget_pages
        self.pool: U8 = np.empty(0, np.uint8)
        self.slot_of: I32 = np.zeros(total_pages, np.int32)
        """slot + 1, or 0: zeros cost no memory until written"""
        self.page_in: I64 = np.full(0, -1, np.int64)
        self.since_s: npt.NDArray[np.float64] = np.zeros(0)
        self.since_round: I64 = np.zeros(0, np.int64)
        self.kind: U8 = np.zeros(0, np.uint8)
        self.size: I32 = np.zeros(0, np.int32)
        """bytes each would put on the link, as estimated when it came in"""
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.page_in) - len(self._free)

    @property
    def held_bytes(self) -> int:
        """Link bytes that forwarding everything now would take, by the estimates."""
        return int(self.size.sum())

    def holds(self, pages: I64) -> npt.NDArray[np.bool_]:
        """Say which pages are held."""
        return self.slot_of[pages] > 0

    def sizes_of(self, pages: I64) -> I32:
        """Return what each page's held version is counted with, 0 for pages that are not held."""
        slots = self.slot_of[pages]
        sizes: I32 = np.where(slots > 0, self.size[slots - 1], 0).astype(np.int32)
        return sizes

    def put(self, batch: PageBatch, chosen: I64, sizes: I32, now_s: float, round_: int) -> I64:
        """Hold the batch's records ``chosen`` (indices); newer content replaces older.

        Returns those that found no room.
        """
        pages = batch.page[chosen]
        slots = self.slot_of[pages].astype(np.int64) - 1
        new = np.flatnonzero(slots < 0)
        self._grow(len(new))
        fits = new[: len(self._free)]
        for i in fits:
            slots[i] = self._free.pop()
        kept = slots >= 0
        into, index = slots[kept], chosen[kept]
        self.slot_of[batch.page[index]] = (into + 1).astype(np.int32)
        self.page_in[into] = batch.page[index]
        self.since_s[into] = now_s
        self.since_round[into] = round_
        self.kind[into] = batch.kind[index]
        self.size[into] = sizes[index]
        _store(self.pool, into, batch.buffer, batch.position[index], batch.kind[index])
        return chosen[~kept]

    def drop(self, pages: I64) -> None:
        """Forget pages (those not held are ignored)."""
        slots = self.slot_of[pages].astype(np.int64) - 1
        slots = slots[slots >= 0]
        self.slot_of[self.page_in[slots]] = 0
        self.page_in[slots] = -1
        self.size[slots] = 0
        self._free.extend(slots.tolist())

    def used(self) -> I64:
        """Return the slots in use."""
        return np.flatnonzero(self.page_in >= 0)

    def batch(self, slots: I64) -> PageBatch:
        """Return held pages as ZERO and PAGE records over the pool."""
        n = len(slots)
        return PageBatch(
            self.page_in[slots],
            self.kind[slots],
            slots * PAGE_BYTES,
            np.full(n, PAGE_BYTES, np.int32),
            self.pool,
        )

    def _grow(self, wanted: int) -> None:
        have = len(self.page_in)
        missing = wanted - len(self._free)
        if missing <= 0 or have >= self.budget_pages:
            return
        size = min(self.budget_pages, max(have + missing, 2 * have, 256))
        self.pool = np.concatenate([self.pool, np.empty((size - have) * PAGE_BYTES, np.uint8)])
        self.page_in = np.concatenate([self.page_in, np.full(size - have, -1, np.int64)])
        self.since_s = np.concatenate([self.since_s, np.zeros(size - have)])
        self.since_round = np.concatenate([self.since_round, np.zeros(size - have, np.int64)])
        self.kind = np.concatenate([self.kind, np.zeros(size - have, np.uint8)])
        self.size = np.concatenate([self.size, np.zeros(size - have, np.int32)])
        self._free.extend(range(size - 1, have - 1, -1))
