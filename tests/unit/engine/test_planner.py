"""A switchover is decided once."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagethrift.engine.planner import Planner
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from tests.unit.strategies.stop.test_prediction import FACTS


@dataclass
class Script:
    """Answers in order; counts how often it was asked."""

    answers: list[StopDecision]
    asked: list[StopFacts] = field(default_factory=list)

    def decide(self, facts: StopFacts) -> StopDecision:
        self.asked.append(facts)
        return self.answers[len(self.asked) - 1]


ON = StopDecision(StopAction.CONTINUE, predicted_downtime_s=2.0)
GO = StopDecision(StopAction.SWITCH_OVER, "fits", 0.2)


def test_it_asks_until_it_is_decided_and_then_stays_decided() -> None:
    script = Script([ON, ON, GO, ON])
    planner = Planner(script)
    assert [planner.decide(FACTS) for _ in range(5)] == [ON, ON, GO, GO, GO]
    assert len(script.asked) == 3
    assert script.asked == [FACTS] * 3
    assert planner.decided is GO


def test_nothing_is_decided_before() -> None:
    planner = Planner(Script([ON]))
    planner.decide(FACTS)
    assert planner.decided is None
