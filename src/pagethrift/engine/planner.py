"""The planner: facts in, decisions out. Shared by live and simulated migrations."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.strategies.base import StopRule


@dataclass(slots=True)
class Planner:
    """Asks the stop rule, and keeps its decision for a switchover or post-copy, which is made once."""

    stop_rule: StopRule
    decided: StopDecision | None = field(default=None)
    """the switchover or post-copy, once decided"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the decision for these facts; once a switchover is decided, always that decision."""
        if self.decided is not None:
            return self.decided
        decision = self.stop_rule.decide(facts)
        if facts.waits_for_go:
            return StopDecision(StopAction.CONTINUE, predicted_downtime_s=decision.predicted_downtime_s)
        if decision.action in (StopAction.SWITCH_OVER, StopAction.START_POST_COPY):
            self.decided = decision
        return decision
