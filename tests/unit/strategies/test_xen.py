"""Xen's two loops."""

from __future__ import annotations

import pytest

from pagethrift.model.facts import StopAction
from pagethrift.strategies.base import HoldNothing
from pagethrift.strategies.xen import SkipDirtyAgain, XenRule, xen
from pagethrift.strategies.xen_libxl import LibxlPolicy, xen_libxl
from tests.unit.strategies.facts import held_facts, page_facts, stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE
RAM_PAGES = 1 << 18


def test_what_the_peek_shows_dirty_again_is_not_sent_this_round() -> None:
    hold = SkipDirtyAgain()
    for round_ in (0, 1, 9):
        facts = page_facts(3, round_, dirty_again=[True, False, True], as_defined=True)
        answer = hold.hold(facts)
        assert answer is not None
        assert answer.tolist() == [True, False, True]
    assert hold.hold(page_facts(1, 4, dirty_again=[True], as_defined=True, last=True)) is None
    assert hold.release(held_facts([1], 9, as_defined=True)) is None, "it comes again by itself"
    assert xen().simulated.peeks


def test_live_two_rounds_running_stand_for_the_peek() -> None:
    hold = SkipDirtyAgain()
    answer = hold.hold(page_facts(4, 2, history=[0b11, 0b01, 0b101, 0b111]))
    assert answer is not None
    assert answer.tolist() == [True, False, False, True]
    assert hold.hold(page_facts(1, 1, history=[0b11])) is None, "everything arrived in round 0"
    released = hold.release(held_facts([2, 3, 4], 4))
    assert released is not None
    assert released.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("dirty", "sent", "reason"),
    [
        ([9000, 8000], None, ""),
        ([9000, 9001, 100], None, "the round sent more than the one before it"),
        ([9000, 49, 5000], None, "a round of 49 pages, less than 50"),
        ([9000, 50, 5000], None, ""),
        ([9000] * 28, None, ""),
        ([9000] * 29, None, "29 rounds done"),
        ([200_000, 199_999, 199_998, 1], None, "more than 3 x RAM sent"),
        ([RAM_PAGES, RAM_PAGES], None, ""),
        ([9000, 9000], [10, 20, 0], "the round sent more than the one before it"),
    ],
)
def test_xens_last_round(dirty: list[int], sent: list[int] | None, reason: str) -> None:
    decision = XenRule().decide(stop_facts(dirty, sent))
    assert decision.action is (GO if reason else ON)
    assert decision.reason == reason


def test_a_growing_round_ends_it_only_if_asked_for() -> None:
    facts = stop_facts([9000, 9001, 100])
    assert XenRule().decide(facts).action is GO
    assert XenRule(growth=0).decide(facts).action is ON
    assert xen(growth=0).stop == XenRule(growth=0)


def test_the_first_round_is_never_the_last() -> None:
    assert XenRule().decide(stop_facts([])).action is ON


@pytest.mark.parametrize(
    ("dirty", "action"),
    [([], ON), ([50], ON), ([49], GO), ([9000] * 4, ON), ([9000] * 5, GO), ([9000, 20_000, 30_000], ON)],
)
def test_libxls_policy(dirty: list[int], action: StopAction) -> None:
    assert LibxlPolicy().decide(stop_facts(dirty)).action is action


def test_migration_v2_does_not_peek() -> None:
    assert isinstance(xen_libxl().hold, HoldNothing)
    assert not xen_libxl().simulated.peeks
    assert xen_libxl(peek=1).hold == SkipDirtyAgain()
    assert xen_libxl(peek=1).simulated.peeks
