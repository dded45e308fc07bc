"""Hu's time series."""

from __future__ import annotations

from pagethrift.strategies.hu import HoldFrequent, hu
from tests.unit.strategies.facts import held_facts, page_facts


def held(hold: HoldFrequent, round_: int, *history: int, **more: object) -> list[bool]:
    answer = hold.hold(page_facts(len(history), round_, history=list(history), **more))
    return [] if answer is None else answer.tolist()


def test_three_of_the_last_five_rounds() -> None:
    hold = HoldFrequent()
    assert held(hold, 9, 0b00111, 0b10101, 0b00011, 0b11100000, 0b11111) == [True, True, False, False, True]


def test_the_series_begins_after_round_zero() -> None:
    hold = HoldFrequent()
    assert held(hold, 2, 0b111) == [False], "one of its three is the first pass"
    assert held(hold, 3, 0b1111) == [True]


def test_as_the_thesis_says_when_the_bit_reaches_five() -> None:
    hold = HoldFrequent(series=5, ones=5)
    assert held(hold, 9, 0b11111, 0b11110) == [True, False]


def test_frequent_pages_wait_for_the_last_round() -> None:
    hold = HoldFrequent()
    released = hold.release(held_facts([1, 2], 50))
    assert released is not None
    assert not released.any()
    assert held(hold, 9, 0b11111, last=True) == []
    assert held(hold, 9, 0b11111, as_defined=True, held_bytes=10**12) == [True]


def test_the_row_has_few_rounds() -> None:
    assert hu().parameters["rounds"] == 5
    assert hu().needs_history
