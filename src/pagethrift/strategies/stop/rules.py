"""The common stop rules, for any row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.stop.prediction import pending_pages, predicted_downtime_s

CONTINUE = StopDecision(StopAction.CONTINUE)


def switch_over(facts: StopFacts, reason: str) -> StopDecision:
    """Return the decision with its reason and the downtime predicted for it."""
    return StopDecision(StopAction.SWITCH_OVER, reason, predicted_downtime_s(facts))


def fits(facts: StopFacts, limit_s: float) -> bool:
    """Apply QEMU's test (migration_iteration_run): pending < bandwidth x downtime limit, in full pages.

    Pages that a relay holds are also pending.
    """
    pending_bytes = pending_pages(facts) * PAGE_BYTES + facts.held_bytes
    return facts.round >= 1 and pending_bytes < facts.link_bps * limit_s


@dataclass(slots=True)
class DowntimePredicted:
    """Switch over when the predicted downtime fits the limit with a margin.

    The margin is given up when more rounds no longer pay: after ``patience`` rounds whose best
    prediction was not 5 % better than the best before them, ``accept`` x the limit is enough.
    """

    margin: float = 0.85
    """share of the limit that a prediction may reach: predictions scatter by 10 to 20 %"""
    accept: float = 1.0
    """share of the limit that a prediction may reach once more rounds do not pay; above 1 exceeds it"""
    patience: float = 3
    """rounds"""
    _best_s: dict[int, float] = field(default_factory=dict, init=False, compare=False, repr=False)
    """the lowest prediction of each round"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on the predicted downtime, with the whole cost of the last pass on the link."""
        predicted = predicted_downtime_s(facts)
        if facts.round < 1 or predicted is None:
            return StopDecision(StopAction.CONTINUE, predicted_downtime_s=predicted)
        self._best_s[facts.round] = min(predicted, self._best_s.get(facts.round, predicted))
        limit_text = f"{predicted * 1000:.0f} ms fits {facts.downtime_limit_s * 1000:.0f} ms"
        if predicted <= self.margin * facts.downtime_limit_s:
            return StopDecision(StopAction.SWITCH_OVER, f"predicted downtime {limit_text}", predicted)
        if predicted <= self.accept * facts.downtime_limit_s and not self._rounds_pay(facts.round):
            reason = f"more rounds no longer pay, predicted downtime {limit_text} x {self.accept:g}"
            return StopDecision(StopAction.SWITCH_OVER, reason, predicted)
        return StopDecision(StopAction.CONTINUE, predicted_downtime_s=predicted)

    def _rounds_pay(self, round_: int) -> bool:
        border = round_ - self.patience
        before = [best for number, best in self._best_s.items() if number < border]
        lately = [best for number, best in self._best_s.items() if border <= number < round_]
        return len(lately) < self.patience or not before or min(lately) < 0.95 * min(before)


@dataclass(frozen=True, slots=True)
class PendingFits:
    """QEMU's rule: pending bytes as full pages below the measured bandwidth x the downtime limit.

    QEMU reads the dirty bitmap anew before it decides. Seen from outside, the pages dirtied since the
    last reading are estimated.
    """

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on uncompressed pending pages at the measured bandwidth."""
        if fits(facts, facts.downtime_limit_s):
            return switch_over(facts, "pending fits bandwidth x downtime limit")
        return CONTINUE


@dataclass(frozen=True, slots=True)
class RetransferShare:
    """The thesis's rule (Jain, NCI 2021): stop when retransferred bytes reach a share of the first round's.

    A migration that converges earlier stops by QEMU's rule, which the thesis leaves in place.
    """

    threshold: float = 0.75
    """share of the first round's bytes"""
    per_round: float = 0
    """1: a single round must reach the share; 0: all rounds after the first together"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on bytes forwarded so far."""
        again = max(facts.round_sent_bytes[1:], default=0) if self.per_round else facts.retransferred_bytes
        share = again / max(1, facts.first_round_bytes)
        if facts.round >= 1 and share >= self.threshold:
            part = "in one round" if self.per_round else "of the first round"
            return switch_over(facts, f"retransferred {share:.0%} {part} (threshold {self.threshold:.0%})")
        return PendingFits().decide(facts)
