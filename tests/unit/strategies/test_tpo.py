"""The three phases of TPO."""

from __future__ import annotations

import numpy as np

from pagethrift.model.facts import StopAction
from pagethrift.model.methods import Allow
from pagethrift.strategies.tpo import FewLeft, HoldUpdated, RunLengthAtTheEnd, tpo
from tests.unit.strategies.facts import held_facts, page_facts, stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


def test_round_zero_leaves_out_what_was_written_while_the_guest_was_watched() -> None:
    answer = HoldUpdated().hold(page_facts(3, 0, watched=[0, 1, 9], as_defined=True))
    assert answer is not None
    assert answer.tolist() == [False, True, True]
    assert HoldUpdated().hold(page_facts(3, 0)) is None, "live there is no window"
    assert tpo(watch_s=2.0).simulated.watch_s == 2.0


def test_pages_updated_more_than_theta_times_wait() -> None:
    answer = HoldUpdated(theta=2).hold(page_facts(4, 5, arrivals=[1, 2, 3, 255]))
    assert answer is not None
    assert answer.tolist() == [False, False, True, True]
    watched = HoldUpdated(theta=2).hold(page_facts(2, 1, arrivals=[1, 1], watched=[1, 2], as_defined=True))
    assert watched is not None
    assert watched.tolist() == [False, True]
    released = HoldUpdated().release(held_facts([1], 9))
    assert released is not None
    assert not released.any()
    assert HoldUpdated().hold(page_facts(1, 9, arrivals=[9], last=True)) is None


def test_what_only_the_window_kept_is_sent_in_round_one() -> None:
    """arrivals are 1 each: with theta 2, one update in the window is rare, two are frequent."""
    watched = np.array([1, 2, 9], np.uint8)
    for round_, expected in ((0, [False, False, False]), (1, [True, False, False])):
        released = HoldUpdated(theta=2).release(
            held_facts([0, 0, 0], round_, watched=watched, as_defined=True)
        )
        assert released is not None
        assert released.tolist() == expected


def test_the_last_round_is_run_length_encoded() -> None:
    assert RunLengthAtTheEnd().allow(page_facts(1, 3)) == Allow.NOTHING
    assert RunLengthAtTheEnd().allow(page_facts(1, 3, last=True)) == Allow.SPARSE


def test_few_infrequent_pages_or_many_rounds_end_it() -> None:
    assert FewLeft().decide(stop_facts([9000] * 9)).action is ON
    assert FewLeft().decide(stop_facts([9000] * 10)).action is GO
    assert FewLeft().decide(stop_facts([9000], held_pages=8949)).action is ON
    assert FewLeft().decide(stop_facts([9000], held_pages=8950)).action is GO
    assert FewLeft().decide(stop_facts([])).action is ON
