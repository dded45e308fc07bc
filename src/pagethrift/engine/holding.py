"""The hold buffer: the newest contents of pages that wait in the relay, in the slots of ``HeldPages``."""

from __future__ import annotations

import numpy as np

from pagethrift.engine.held import HeldPages
from pagethrift.kernels import copy_bytes, kernel
from pagethrift.model.pages import I64, PAGE_BYTES, U8, Kind, PageBatch


@kernel
def _store(pool: U8, slots: I64, buffer: U8, positions: I64, kinds: U8) -> None:
    for i in range(len(slots)):
        at = slots[i] * PAGE_BYTES
        if kinds[i] == Kind.ZERO:
            pool[at : at + PAGE_BYTES] = 0
        else:
            copy_bytes(pool, at, buffer, positions[i], PAGE_BYTES)


class HoldBuffer:
    """A page of memory for each slot that was ever used."""

    def __init__(self, held: HeldPages) -> None:
        self._held = held
        self._pool: U8 = np.empty(0, np.uint8)
        self._kind: U8 = np.zeros(0, np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self._pool.nbytes

    def store(self, batch: PageBatch, chosen: I64) -> None:
        """Keep the contents of the batch's records ``chosen`` (indices), whose pages are held."""
        if not len(chosen):
            return
        self._grow()
        slots = self._held.slots(batch.page[chosen])
        self._kind[slots] = batch.kind[chosen]
        _store(self._pool, slots, batch.buffer, batch.position[chosen], batch.kind[chosen])

    def batch(self, slots: I64) -> PageBatch:
        """Return held pages as ZERO and PAGE records over the buffer."""
        lengths = np.full(len(slots), PAGE_BYTES, np.int32)
        return PageBatch(
            self._held.page_in[slots], self._kind[slots], slots * PAGE_BYTES, lengths, self._pool
        )

    def _grow(self) -> None:
        more = len(self._held.page_in) - len(self._kind)
        if more > 0:
            self._pool = np.concatenate([self._pool, np.empty(more * PAGE_BYTES, np.uint8)])
            self._kind = np.concatenate([self._kind, np.zeros(more, np.uint8)])
