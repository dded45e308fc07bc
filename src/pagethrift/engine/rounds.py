"""The rounds of a migration: the dirty pages each began with, and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from pagethrift.model.result import PageCounters, RoundRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts since the migration began."""

    ram_bytes: int = 0
    """RAM bytes put on the link"""
    pages: PageCounters = field(default_factory=PageCounters)
    held_pages: int = 0
    """pages that wait now"""


@dataclass(slots=True)
class _Round:
    began_s: float
    before: Totals
    dirty_pages: int | None


class RoundLog:
    """All rounds so far; times are seconds since the migration began."""

    def __init__(self, dirty_pages: int | None = None) -> None:
        self._rounds = [_Round(0.0, Totals(), dirty_pages)]

    @property
    def current(self) -> int:
        """Rounds begun so far, 0 = the first pass."""
        return len(self._rounds) - 1

    @property
    def began_s(self) -> float:
        """When the current round began."""
        return self._rounds[-1].began_s

    @property
    def dirty_pages(self) -> int | None:
        """Pages dirty when the current round began; None while unknown."""
        return self._rounds[-1].dirty_pages

    def begin(self, now_s: float, totals: Totals, dirty_pages: int | None = None) -> None:
        """Begin the next round."""
        self._rounds.append(_Round(now_s, totals, dirty_pages))

    def found_dirty(self, pages: int) -> None:
        """Set how many dirty pages the latest rounds began with, where it is not known yet."""
        for begun in reversed(self._rounds):
            if begun.dirty_pages is not None:
                break
            begun.dirty_pages = pages

    def sent_bytes(self, totals: Totals) -> tuple[int, ...]:
        """Return the RAM bytes of each round, the current one last."""
        borders = [begun.before.ram_bytes for begun in self._rounds] + [totals.ram_bytes]
        return tuple(after - before for before, after in pairwise(borders))

    def all_dirty_pages(self) -> tuple[int, ...]:
        """Return how many dirty pages each round began with, 0 where it is not known."""
        return tuple(begun.dirty_pages or 0 for begun in self._rounds)

    def dirty_pages_per_s(self) -> float:
        """Distinct pages dirtied per second in the last round where it is known; 0 without such a round."""
        for before, after in pairwise(reversed(self._rounds)):
            duration_s = before.began_s - after.began_s
            if duration_s > 0 and before.dirty_pages is not None:
                return before.dirty_pages / duration_s
        return 0.0

    def records(self, totals: Totals) -> tuple[RoundRecord, ...]:
        """Return every round, the current one last; ``totals``: the counts now."""
        ends = [begun.before for begun in self._rounds[1:]] + [totals]
        return tuple(
            RoundRecord(
                round=number,
                began_s=begun.began_s,
                dirty_pages=begun.dirty_pages or 0,
                sent_bytes=end.ram_bytes - begun.before.ram_bytes,
                pages=end.pages - begun.before.pages,
                held_pages=end.held_pages,
            )
            for number, (begun, end) in enumerate(zip(self._rounds, ends, strict=True))
        )
