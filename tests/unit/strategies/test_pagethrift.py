"""The default: which pages are hot, and the bound on holding them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pagethrift.model.facts import StopAction
from pagethrift.strategies.pagethrift import HoldHot, pagethrift
from pagethrift.strategies.stop.prediction import predicted_downtime_s
from pagethrift.strategies.stop.rules import DowntimePredicted
from tests.unit.strategies.facts import ROOM_BYTES, held_facts, page_facts, stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


def test_hot_pages_changed_in_three_rounds_running() -> None:
    answer = HoldHot().hold(page_facts(4, 3, history=[0b111, 0b110, 0b011, 0b1111]))
    assert answer is not None
    assert answer.tolist() == [True, False, False, True]
    assert HoldHot().hold(page_facts(1, 2, history=[0b111])) is None, "one of them is round 0"
    assert HoldHot(hot_rounds=1).hold(page_facts(1, 2, history=[0b011])) is not None
    assert HoldHot().hold(page_facts(1, 9, history=[0b111], last=True)) is None
    assert HoldHot(share=0).hold(page_facts(1, 9, history=[0b111])) is None


def test_at_most_a_quarter_of_the_downtime_is_held() -> None:
    sizes = np.full(8, ROOM_BYTES // 8, np.int32)
    answer = HoldHot().hold(page_facts(8, 5, history=[0b111] * 8, sizes=sizes))
    assert answer is not None
    assert answer.sum() == 2


def test_quiet_pages_are_released() -> None:
    released = HoldHot().release(held_facts([3, 4, 5], 5))
    assert released is not None
    assert released.tolist() == [True, False, False]


def test_the_row_passes_its_parameters_on() -> None:
    row = pagethrift(0.5, 2.0, 4, 3, 0.1)
    assert row.stop == DowntimePredicted(0.5, 2.0, 4)
    assert row.hold == HoldHot(3, 0.1)


def stalled(rule: DowntimePredicted, predicted_s: list[float], limit_s: float) -> list[StopAction]:
    """Decisions of rounds 1, 2, ..., each of which predicts this downtime."""
    actions = []
    for i, seconds in enumerate(predicted_s):
        facts = stop_facts([0] * (i + 1), dirty_pages_per_s=0.0, downtime_limit_s=limit_s)
        base_s = predicted_downtime_s(facts)
        assert base_s is not None
        facts = replace(facts, held_bytes=round((seconds - base_s) * facts.link_bps))
        actions.append(rule.decide(facts).action)
    return actions


def test_the_margin_is_given_up_when_more_rounds_no_longer_pay() -> None:
    falling = [0.9, 0.6, 0.4, 0.28, 0.27, 0.265]
    assert stalled(DowntimePredicted(), falling, 0.3) == [ON] * 6, "still falling"
    flat = [0.9, 0.28, 0.28, 0.28, 0.28, 0.28]
    assert stalled(DowntimePredicted(), flat, 0.3) == [ON] * 5 + [GO]
    assert stalled(DowntimePredicted(patience=2), flat, 0.3) == [ON] * 4 + [GO, GO]
    assert stalled(DowntimePredicted(accept=0.9), flat, 0.3) == [ON] * 6
    over = [0.9, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert stalled(DowntimePredicted(), over, 0.3) == [ON] * 6, "the limit is a limit"
    assert stalled(DowntimePredicted(accept=1.5), over, 0.3) == [ON] * 5 + [GO]
