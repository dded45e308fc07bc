"""Counters of one connection: no acknowledged increment may be missing, at once or at the end."""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.errors import LabError
from pagethrift.lab.load.spec import FILL_BATCH, LoadSpec, counter_name
from pagethrift.lab.load.stats import Outcome
from pagethrift.lab.load.stores import Store


@dataclass(slots=True)
class CounterCheck:
    """The result of checking the counters at the end."""

    counters: int = 0
    acknowledged: int = 0
    """increments the server answered"""
    lost: int = 0
    """increments acknowledged and missing, or counted and never sent"""
    unchecked_connections: int = 0
    """counters that could not be read at the end"""


class Counters:
    """The counters that one connection alone increments, so that it knows their values."""

    def __init__(self, spec: LoadSpec, store: Store, connection: int) -> None:
        self._store = store
        self._names = [counter_name(i) for i in range(connection, spec.counters, spec.connections)]
        self._acknowledged = [0] * len(self._names)
        self._doubtful = [0] * len(self._names)
        """increments sent whose answer was lost"""

    def fill(self) -> None:
        """Set all counters to 0. Raises STORE_ERRORS; LabError when the server lost the last one."""
        for start in range(0, len(self._names), FILL_BATCH):
            self._store.fill(
                dict.fromkeys(self._names[start : start + FILL_BATCH], self._store.counter_start)
            )
        if self._names and self._names[-1] not in self._store.get_many(self._names[-1:]):
            raise LabError(
                f"the server lost {self._names[-1].decode()} while it was filled; give it more memory"
            )

    def increment(self, counters: list[int]) -> list[Outcome]:
        """Add 1 to each counter; return the outcomes. Raises STORE_ERRORS when no answer came."""
        try:
            values = self._store.increment_many([self._names[counter] for counter in counters])
        except BaseException:
            for counter in counters:
                self._doubtful[counter] += 1
            raise
        return [self._judge(counter, value) for counter, value in zip(counters, values, strict=True)]

    def check(self) -> CounterCheck:
        """Read and compare all counters. Raises STORE_ERRORS."""
        found = CounterCheck(len(self._names), sum(self._acknowledged))
        for start in range(0, len(self._names), FILL_BATCH):
            names = self._names[start : start + FILL_BATCH]
            held = self._store.get_many(names)
            for counter, name in enumerate(names, start):
                value, known = int(held.get(name, b"0")), self._acknowledged[counter]
                most = known + self._doubtful[counter]
                found.lost += max(known - value, value - most, 0)
        return found

    def _judge(self, counter: int, value: int | None) -> Outcome:
        if value is None:
            return Outcome.MISSING
        least = self._acknowledged[counter] + 1
        right = least <= value <= least + self._doubtful[counter]
        # From now on the server must keep the value that it returned.
        self._acknowledged[counter], self._doubtful[counter] = value if right else least, 0
        return Outcome.OK if right else Outcome.WRONG
