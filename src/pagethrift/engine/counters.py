"""What became of pages so far, counted by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from pagethrift.content.ledger import State
from pagethrift.kernels import kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8
from pagethrift.model.result import PageCounters


class Count(IntEnum):
    """Totals that are not counts of a method."""

    PAGES_IN = 0
    """page records read"""
    FIRST_ROUND_BYTES = 1
    """RAM bytes out for pages forwarded for the first time"""
    RETRANSFERRED_BYTES = 2
    """RAM bytes out for pages forwarded again"""
    RETRANSFERRED_PAGES = 3
    """page records that arrived again, skipped ones included"""


# ``.value``: Numba before 0.68 takes no IntEnum as an index.
@kernel
def _account(pages: I64, methods: U8, sizes: I32, state: U8, by_method: I64, totals: I64) -> None:
    for i in range(len(pages)):
        by_method[methods[i]] += 1
        held = state[pages[i]]
        if held == State.NEVER or held == State.BASE:
            totals[Count.FIRST_ROUND_BYTES.value] += sizes[i]
        else:
            totals[Count.RETRANSFERRED_BYTES.value] += sizes[i]


@kernel
def _arrive(pages: I64, arrivals: U8, before: U8, totals: I64) -> None:
    totals[Count.PAGES_IN.value] += len(pages)
    for i in range(len(pages)):
        seen = arrivals[pages[i]]
        before[i] = seen
        if seen > 0:
            totals[Count.RETRANSFERRED_PAGES.value] += 1
        if seen < 255:
            arrivals[pages[i]] = seen + 1


@dataclass(slots=True)
class Counters:
    """Totals since the start of the stream."""

    by_method: I64 = field(default_factory=lambda: np.zeros(len(Method), np.int64))
    totals: I64 = field(default_factory=lambda: np.zeros(len(Count), np.int64))
    in_bytes: int = 0
    out_bytes: int = 0

    def arrive(self, pages: I64, arrivals: U8, before: U8) -> None:
        """Count the pages of a batch as arrived; ``before`` receives earlier arrivals."""
        _arrive(pages, arrivals, before, self.totals)

    def account(self, pages: I64, methods: U8, sizes: I32, state: U8) -> None:
        """Count what is forwarded of a batch; ``state``: the ledger's, before it is told of the batch."""
        _account(pages, methods, sizes, state, self.by_method, self.totals)

    def of(self, count: Count) -> int:
        """Return one total."""
        return int(self.totals[count])

    @property
    def pages(self) -> PageCounters:
        """Pages by what became of them."""
        return PageCounters.by_method(self.by_method.tolist())

    @property
    def ram_bytes(self) -> int:
        """RAM bytes out."""
        return self.of(Count.FIRST_ROUND_BYTES) + self.of(Count.RETRANSFERRED_BYTES)
