"""Counts of pages and bytes so far, by name."""

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
    """Totals that are not counts of a method; kernels index with ``.value`` for Numba before 0.68."""

    PAGES_IN = 0
    """page records read"""
    FIRST_ROUND_BYTES = 1
    """RAM bytes sent for pages that were forwarded for the first time"""
    RETRANSFERRED_BYTES = 2
    """RAM bytes sent for pages that were forwarded again"""
    RETRANSFERRED_PAGES = 3
    """page records that arrived after a page's first, skipped ones included"""


# ``.value``: Numba before 0.68 takes no IntEnum as an index.
@kernel
def _account(
    pages: I64, methods: U8, sizes: I32, state: U8, by_method: I64, bytes_by_method: I64, totals: I64
) -> None:
    for i in range(len(pages)):
        by_method[methods[i]] += 1
        bytes_by_method[methods[i]] += sizes[i]
        held = state[pages[i]]
        if held == State.NEVER or held == State.BASE:
            totals[Count.FIRST_ROUND_BYTES.value] += sizes[i]
        else:
            totals[Count.RETRANSFERRED_BYTES.value] += sizes[i]


@kernel
def _arrive(pages: I64, state: U8, arrivals: U8, before: U8, first: U8, totals: I64) -> None:
    totals[Count.PAGES_IN.value] += len(pages)
    for i in range(len(pages)):
        seen = arrivals[pages[i]]
        before[i] = seen
        held = state[pages[i]]
        first[i] = 1 if held == State.NEVER or held == State.BASE else 0
        if seen > 0:
            totals[Count.RETRANSFERRED_PAGES.value] += 1
        if seen < 255:
            arrivals[pages[i]] = seen + 1


@dataclass(slots=True)
class Counters:
    """Totals since the start of the stream."""

    by_method: I64 = field(default_factory=lambda: np.zeros(len(Method), np.int64))
    bytes_by_method: I64 = field(default_factory=lambda: np.zeros(len(Method), np.int64))
    """RAM bytes on main; those of compressed channels are ``channel_bytes``"""
    totals: I64 = field(default_factory=lambda: np.zeros(len(Count), np.int64))
    main_in_bytes: int = 0
    """received on the main channel"""
    out_bytes: int = 0
    """written to main"""
    channel_bytes: int = 0
    """written to compressed channels, as far as packets are compressed already"""

    def arrive(self, pages: I64, state: U8, arrivals: U8, before: U8, first: U8) -> None:
        """Count the pages of a batch as arrived; ``before`` receives how often each did earlier.

        ``first`` receives 1 for pages of which nothing was forwarded yet, by ``state``, the ledger's.
        """
        _arrive(pages, state, arrivals, before, first, self.totals)

    def account(self, pages: I64, methods: U8, sizes: I32, state: U8) -> None:
        """Count what is forwarded of a batch; ``state``: the ledger's, before it records the batch."""
        _account(pages, methods, sizes, state, self.by_method, self.bytes_by_method, self.totals)

    def account_packet(self, taken_bytes: int, again_share: float) -> None:
        """Count a packet's bytes; ``again_share``: the part that is for pages forwarded before."""
        again_bytes = int(taken_bytes * again_share)
        self.totals[Count.RETRANSFERRED_BYTES] += again_bytes
        self.totals[Count.FIRST_ROUND_BYTES] += taken_bytes - again_bytes
        self.channel_bytes += taken_bytes

    def of(self, count: Count) -> int:
        """Return one total."""
        return int(self.totals[count])

    @property
    def pages(self) -> PageCounters:
        """Pages by method."""
        return PageCounters.by_method(self.by_method.tolist())

    @property
    def page_bytes(self) -> PageCounters:
        """RAM bytes sent by method."""
        counts = self.bytes_by_method.tolist()
        counts[Method.CHANNEL] += self.channel_bytes
        return PageCounters.by_method(counts)

    @property
    def ram_bytes(self) -> int:
        """RAM bytes sent."""
        return self.of(Count.FIRST_ROUND_BYTES) + self.of(Count.RETRANSFERRED_BYTES)
