"""What the thinner has done so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8

_PAGES, _FIRST_BYTES, _AGAIN_BYTES, _AGAIN_PAGES = 8, 9, 10, 11
_SLOTS = 12


@kernel
def _account(pages: I64, methods: U8, sizes: I32, state: U8, totals: I64) -> None:
    """Slots 0..7 count methods; state is the ledger's before this batch is committed."""
    for i in range(len(pages)):
        totals[methods[i]] += 1
        if state[pages[i]] == 0:
            totals[9] += sizes[i]
        else:
            totals[10] += sizes[i]


@kernel
def _arrive(pages: I64, arrivals: U8, before: U8, totals: I64) -> None:
    totals[8] += len(pages)
    for i in range(len(pages)):
        seen = arrivals[pages[i]]
        before[i] = seen
        if seen > 0:
            totals[11] += 1
        if seen < 255:
            arrivals[pages[i]] = seen + 1


@dataclass(slots=True)
class Counters:
    """Totals since the start of the stream."""

    totals: I64 = field(default_factory=lambda: np.zeros(_SLOTS, np.int64))
    in_bytes: int = 0
    out_bytes: int = 0

    def arrive(self, pages: I64, arrivals: U8, before: U8) -> None:
        """Count the pages of a batch as arrived; ``before`` receives earlier arrivals."""
        _arrive(pages, arrivals, before, self.totals)

    def account(self, pages: I64, methods: U8, sizes: I32, state: U8) -> None:
        """Count what is forwarded of a batch, before the ledger is told."""
        _account(pages, methods, sizes, state, self.totals)

    def method(self, method: Method) -> int:
        """Pages that went this way."""
        return int(self.totals[method])

    @property
    def pages_in(self) -> int:
        """Page records read."""
        return int(self.totals[_PAGES])

    @property
    def first_round_bytes(self) -> int:
        """RAM bytes out for pages forwarded for the first time."""
        return int(self.totals[_FIRST_BYTES])

    @property
    def retransferred_bytes(self) -> int:
        """RAM bytes out for pages forwarded again."""
        return int(self.totals[_AGAIN_BYTES])

    @property
    def retransferred_pages(self) -> int:
        """Page records that arrived again, skipped ones included."""
        return int(self.totals[_AGAIN_PAGES])
