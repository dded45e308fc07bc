"""In which of the last eight rounds each page arrived changed: one byte a page, for hold answers."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.pages import I64, U8, U32


@kernel
def _mark(pages: I64, masks: U32, table: U8, out: U8) -> None:
    for i in range(len(pages)):
        if masks[i] != 0:
            table[pages[i]] |= np.uint8(1)
        out[i] = table[pages[i]]


class RoundHistory:
    """Bit 0 of a page's byte is the present round, bit 7 the one seven rounds ago."""

    def __init__(self, total_pages: int) -> None:
        self._table: U8 = np.zeros(total_pages, np.uint8)
        self._round = 0

    def mark(self, pages: I64, masks: U32, round_: int, out: U8) -> None:
        """Record that pages arrived in a round (mask 0: unchanged); ``out`` receives their bytes."""
        self._advance(round_)
        _mark(pages, masks, self._table, out)

    def of(self, pages: I64, round_: int) -> U8:
        """Return the bytes of pages as of a round."""
        self._advance(round_)
        return self._table[pages]

    def _advance(self, round_: int) -> None:
        """Shift all pages once a round: 4 MB, about a millisecond, for 16 GiB of RAM."""
        if round_ > self._round:
            self._table <<= np.uint8(min(7, round_ - self._round))
            if round_ - self._round > 7:
                self._table[:] = 0
            self._round = round_
