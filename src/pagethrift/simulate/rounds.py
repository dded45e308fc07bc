"""The rounds of a simulated migration, as facts for the planner and as records for the result."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pagethrift.model.facts import StopFacts
from pagethrift.model.methods import Method
from pagethrift.model.pages import I64
from pagethrift.model.result import RoundRecord


class Rounds:
    """What each round began with and what the relay's totals were then."""

    def __init__(self, dirty_pages: int) -> None:
        self._began_s = [0.0]
        self._dirty = [dirty_pages]
        self._totals: list[list[int]] = [[0] * 12]
        self._held: list[int] = []
        self._sent: list[int] = []

    @property
    def current(self) -> int:
        """Rounds begun so far, 0 = the first pass."""
        return len(self._began_s) - 1

    def begin(self, now_s: float, dirty_pages: int, totals: I64, held_pages: int) -> None:
        """Begin the next round."""
        self.close(totals, held_pages)
        self._sent.append(_sent(self._totals[-1]) - _sent(self._totals[-2]))
        self._began_s.append(now_s)
        self._dirty.append(dirty_pages)

    def close(self, totals: I64, held_pages: int) -> None:
        """End the current round."""
        self._totals.append(totals.tolist())
        self._held.append(held_pages)

    def facts(self, now_s: float, **counters: Any) -> StopFacts:
        """Return the facts of this moment; ``counters``: the fields that are no business of rounds."""
        total_bytes = counters["first_round_bytes"] + counters["retransferred_bytes"]
        return StopFacts(
            now_s=now_s,
            round=self.current,
            round_began_s=self._began_s[-1],
            dirty_pages_per_s=self._dirty_pages_per_s(),
            round_sent_bytes=(*self._sent, total_bytes - _sent(self._totals[-1])),
            round_dirty_pages=tuple(self._dirty),
            **counters,
        )

    def records(self) -> tuple[RoundRecord, ...]:
        """Return every round; after `close`."""
        return tuple(
            RoundRecord(
                round=number,
                began_s=self._began_s[number],
                dirty_pages=self._dirty[number],
                sent_bytes=_sent(after) - _sent(before),
                full_pages=after[Method.FULL] - before[Method.FULL],
                delta_pages=_deltas(after) - _deltas(before),
                zero_pages=after[Method.ZERO] - before[Method.ZERO],
                skipped_pages=after[Method.SKIP] - before[Method.SKIP],
                held_pages=self._held[number],
            )
            for number, (before, after) in enumerate(pairwise(self._totals))
        )

    def _dirty_pages_per_s(self) -> float:
        if self.current < 1:
            return 0.0
        duration_s = self._began_s[-1] - self._began_s[-2]
        return self._dirty[-1] / duration_s if duration_s > 0 else 0.0


def _sent(totals: list[int]) -> int:
    return totals[9] + totals[10]


def _deltas(totals: list[int]) -> int:
    return totals[Method.DELTA] + totals[Method.SPARSE] + totals[Method.FROM_ZERO]
