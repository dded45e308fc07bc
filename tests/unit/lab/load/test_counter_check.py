"""Counters against a store in memory that can be made to lose what it acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pagethrift.lab.load.counter_check import CounterCheck, Counters
from pagethrift.lab.load.spec import LoadSpec, counter_name
from pagethrift.lab.load.stats import Outcome
from pagethrift.lab.load.stores import Held

SPEC = LoadSpec(keys=2, connections=2, counters=10, increment_share=1.0)


class MemoryStore:
    counter_start = b"0"

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.fails: str = ""
        """before: the next increments are neither done nor answered; after: done and not answered"""

    def fill(self, values: Mapping[bytes, bytes]) -> None:
        self.values |= values

    def set_many(self, values: Mapping[bytes, bytes]) -> set[bytes]:
        self.values |= values
        return set()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self.values[key] for key in keys if key in self.values}

    def increment_many(self, keys: Sequence[bytes]) -> list[int | None]:
        if self.fails == "before":
            raise ConnectionError
        answers: list[int | None] = []
        for key in keys:
            if key in self.values:
                self.values[key] = b"%d" % (int(self.values[key]) + 1)
            answers.append(int(self.values[key]) if key in self.values else None)
        if self.fails == "after":
            raise ConnectionError
        return answers

    def held(self) -> Held:
        return Held(len(self.values), 0, 0)

    def abort(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def filled(store: MemoryStore) -> Counters:
    """The counters of connection 1 of 2: 1, 3, 5, 7, 9."""
    counters = Counters(SPEC, store, 1)
    counters.fill()
    return counters


def test_every_increment_is_counted_also_twice_in_a_batch(store: MemoryStore) -> None:
    counters = filled(store)
    assert sorted(store.values) == [counter_name(i) for i in (1, 3, 5, 7, 9)]
    assert counters.increment([0, 2, 0]) == [Outcome.OK] * 3
    assert store.values[counter_name(1)] == b"2"
    assert counters.check() == CounterCheck(counters=5, acknowledged=3)


@pytest.mark.parametrize("fails", ["before", "after"])
def test_an_increment_without_an_answer_may_have_happened_or_not(store: MemoryStore, fails: str) -> None:
    counters = filled(store)
    counters.increment([0])
    store.fails = fails
    with pytest.raises(ConnectionError):
        counters.increment([0, 0])
    store.fails = ""
    assert counters.check().lost == 0
    assert counters.increment([0]) == [Outcome.OK]
    assert counters.check() == CounterCheck(counters=5, acknowledged=4 if fails == "after" else 2)


def test_a_lost_increment_is_found_at_once_and_at_the_end(store: MemoryStore) -> None:
    counters = filled(store)
    counters.increment([3, 3, 3])
    store.values[counter_name(7)] = b"1"
    assert counters.check().lost == 2
    assert counters.increment([3]) == [Outcome.WRONG]
    assert counters.check().lost == 2


def test_a_counter_that_runs_ahead_or_is_gone_is_found(store: MemoryStore) -> None:
    counters = filled(store)
    store.values[counter_name(1)] = b"5"
    assert counters.check().lost == 5
    del store.values[counter_name(3)]
    assert counters.increment([1]) == [Outcome.MISSING]
