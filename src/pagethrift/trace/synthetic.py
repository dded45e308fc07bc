"""Made-up traces with known write rates, for tests and for trying a strategy without a guest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagethrift.model.pages import I64, PAGE_BYTES
from pagethrift.trace.format import DeltaSource, TraceHeader
from pagethrift.trace.write import Rows, TraceWriter


class Load(StrEnum):
    """The pattern of the writes."""

    IDLE = "idle"
    """nobody"""
    UNIFORM = "uniform"
    """new content into pages drawn uniformly"""
    ROUND_ROBIN = "round-robin"
    """new content into one page after the other: the rate of distinct pages is exact"""
    ZIPF = "zipf"
    """new content into pages drawn by a Zipf law"""
    COUNTERS = "counters"
    """one subpage of a page changes"""
    FLIPPER = "flipper"
    """page after page changes between two contents"""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """What to make up."""

    load: Load = Load.UNIFORM
    pages: int = 16384
    used_pages: int | None = None
    """pages in use; the others are zero and never written; default: all"""
    hot_pages: int | None = None
    """pages that are written; default: the used ones"""
    writes_per_s: float = 2000.0
    seconds: float = 20.0
    interval_s: float = 0.2
    zipf_exponent: float = 0.99
    """YCSB's"""
    seed: int = 1


def make_trace(path: Path, wanted: Synthetic) -> TraceHeader:
    """Write a trace and return its header; the same seed gives the same trace."""
    rng = np.random.default_rng(wanted.seed)
    used = wanted.pages if wanted.used_pages is None else wanted.used_pages
    hot = used if wanted.hot_pages is None else wanted.hot_pages
    header = TraceHeader(
        memory_bytes=wanted.pages * PAGE_BYTES,
        blocks=(("pc.ram", wanted.pages * PAGE_BYTES),),
        interval_s=wanted.interval_s,
        delta_source=DeltaSource.SUBPAGES,
        workload=f"synthetic {wanted.load}, {wanted.writes_per_s:g} writes/s over {hot} of {used} pages",
        synthetic=True,
    )
    state = _State(wanted, used, hot, rng)
    with TraceWriter(path, header) as writer:
        writer.write(state.first(), 0.0, 0.0)
        writer.write(state.nothing(), wanted.interval_s, 0.0)
        owed = 0.0
        for sweep in range(2, 2 + max(1, round(wanted.seconds / wanted.interval_s))):
            owed += wanted.writes_per_s * wanted.interval_s
            count = int(owed)
            owed -= count
            writer.write(state.written(count), sweep * wanted.interval_s, 0.0)
        writer.close()
    return header


class _State:
    def __init__(self, wanted: Synthetic, used: int, hot: int, rng: np.random.Generator) -> None:
        self._wanted, self._used, self._hot, self._rng = wanted, used, hot, rng
        self._following = 2 * used + 1
        self._next_page = 0
        self._turn = np.zeros(wanted.pages, np.uint8)
        weights = np.arange(1, hot + 1, dtype=np.float64) ** -wanted.zipf_exponent
        self._shares = weights / weights.sum()
        self._ranks = rng.permutation(hot)

    def first(self) -> Rows:
        """Return every page once; pages in use hold content 1 + page number, the others are zero."""
        page = np.arange(self._wanted.pages, dtype=np.int64)
        content = np.where(page < self._used, page + 1, 0)
        return self._rows(page, content, np.full(len(page), 0xFFFF), np.zeros(len(page)))

    def nothing(self) -> Rows:
        """Return a sweep without writes."""
        empty = np.zeros(0, np.int64)
        return self._rows(empty, empty, empty, empty)

    def written(self, count: int) -> Rows:
        """Return the pages of one sweep after ``count`` writes."""
        match self._wanted.load:
            case Load.IDLE:
                return self.nothing()
            case Load.UNIFORM:
                page = np.unique(self._rng.integers(0, self._hot, count))
            case Load.ZIPF:
                page = np.unique(self._ranks[self._rng.choice(self._hot, count, p=self._shares)])
            case _:
                page = np.unique((self._next_page + np.arange(count)) % self._hot)
                self._next_page = (self._next_page + count) % self._hot
        n = len(page)
        changed = np.full(n, 0xFFFF)
        delta = np.full(n, PAGE_BYTES)
        if self._wanted.load is Load.FLIPPER:
            self._turn[page] ^= 1
            content = page + 1 + self._used * self._turn[page].astype(np.int64)
        else:
            content = np.arange(self._following, self._following + n)
            self._following += n
        if self._wanted.load is Load.COUNTERS:
            changed = 1 << (page % 16)
            delta = np.full(n, 12)
        return self._rows(page, content, changed, delta)

    def _rows(
        self, page: I64, content: I64, changed: npt.NDArray[np.int64], delta: npt.NDArray[np.generic]
    ) -> Rows:
        zero = content == 0
        sparse = np.where(zero, 0, PAGE_BYTES).astype(np.uint16)
        return Rows(
            page.astype(np.int64), content.astype(np.uint32), changed.astype(np.uint16), zero,
            delta.astype(np.uint16), sparse, np.zeros(len(page), np.uint16),
        )  # fmt: skip
