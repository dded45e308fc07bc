"""Libvirt's own part of a downtime is left out of what the rest may take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.virt.switchover import LIBVIRT_S, Allowing
from tests.unit.strategies.stop.test_prediction import FACTS


class Rule:
    """Switches over if half of the limit is enough for it."""

    def __init__(self, predicted_s: float | None) -> None:
        self.predicted_s = predicted_s
        self.limits_s: list[float] = []

    def decide(self, facts: StopFacts) -> StopDecision:
        self.limits_s.append(facts.downtime_limit_s)
        return StopDecision(StopAction.SWITCH_OVER, "it fits", self.predicted_s)


@pytest.mark.parametrize(("limit_s", "left_s"), [(0.3, 0.3 - LIBVIRT_S), (2.0, 2.0 - LIBVIRT_S), (0.1, 0.05)])
def test_a_rule_gets_what_is_left_and_at_least_half(limit_s: float, left_s: float) -> None:
    rule = Rule(0.1)
    decision = Allowing(rule).decide(replace(FACTS, downtime_limit_s=limit_s))
    assert rule.limits_s == [pytest.approx(left_s)]
    assert decision.predicted_downtime_s == pytest.approx(0.1 + LIBVIRT_S)
    assert decision.reason == "it fits, and libvirt takes 120 ms"


def test_what_cannot_be_predicted_stays_so() -> None:
    assert Allowing(Rule(None)).decide(FACTS) == StopDecision(StopAction.SWITCH_OVER, "it fits", None)
