"""Stop rules, composable with any row of the table."""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES

DEVICE_STATE_BYTES = 128 << 10
"""device state and the description QEMU appends: 112 KB measured on a bare pc machine"""

FIXED_DOWNTIME_S = 0.03
"""stopping, saving, loading and starting without any RAM: 20 to 40 ms measured under emulation"""

FULL_RECORD_BYTES = 8 + PAGE_BYTES


def pending_pages(facts: StopFacts) -> float:
    """Pages the last pass would carry if the guest stopped now."""
    since_s = max(0.0, facts.now_s - facts.round_began_s)
    dirtied = facts.dirty_pages_per_s * since_s if facts.round > 0 else facts.total_pages
    return min(float(facts.total_pages), facts.remaining_pages + dirtied)


def bytes_per_dirty_page(facts: StopFacts) -> float:
    """Link bytes a page that arrives again has cost on average, skipped ones included."""
    if facts.retransferred_pages < 64:
        return FULL_RECORD_BYTES
    return facts.retransferred_bytes / facts.retransferred_pages


def predicted_downtime_s(facts: StopFacts) -> float | None:
    """Seconds from STOP to RESUME if the switchover were decided now; None while the link rate is unknown."""
    if facts.link_bps <= 0:
        return None
    owed = pending_pages(facts) * bytes_per_dirty_page(facts) + facts.held_bytes + facts.unsent_bytes
    return FIXED_DOWNTIME_S + (owed + DEVICE_STATE_BYTES) / facts.link_bps


@dataclass(frozen=True, slots=True)
class DowntimePredicted:
    """Switch over as soon as the predicted downtime fits the limit."""

    margin: float = 0.85
    """share of the limit that may be predicted: predictions scatter by 10 to 20 %"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on the whole cost of the last pass as it would go over the link."""
        predicted = predicted_downtime_s(facts)
        if facts.round < 1 or predicted is None or predicted > self.margin * facts.downtime_limit_s:
            return StopDecision(StopAction.CONTINUE, predicted_downtime_s=predicted)
        reason = f"predicted downtime {predicted * 1000:.0f} ms fits {facts.downtime_limit_s * 1000:.0f} ms"
        return StopDecision(StopAction.SWITCH_OVER, reason, predicted)


@dataclass(frozen=True, slots=True)
class PendingFits:
    """QEMU's rule (migration_iteration_run): pending < bandwidth x downtime limit, in full pages.

    QEMU looks at the dirty bitmap anew before it decides; seen from outside, what was dirtied
    since the last look is estimated.
    """

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on uncompressed pending pages at the measured bandwidth."""
        pending_bytes = pending_pages(facts) * PAGE_BYTES
        if facts.round >= 1 and pending_bytes < facts.link_bps * facts.downtime_limit_s:
            return StopDecision(StopAction.SWITCH_OVER, "pending fits bandwidth x downtime limit")
        return StopDecision(StopAction.CONTINUE)


@dataclass(frozen=True, slots=True)
class RetransferShare:
    """The thesis's rule: stop when retransferred bytes reach a share of the first round's.

    A migration that converges earlier stops by QEMU's rule, which the thesis leaves in place.
    """

    threshold: float = 0.75

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on bytes forwarded so far."""
        share = facts.retransferred_bytes / max(1, facts.first_round_bytes)
        if facts.round >= 1 and share >= self.threshold:
            return StopDecision(
                StopAction.SWITCH_OVER,
                f"retransferred {share:.0%} of the first round (threshold {self.threshold:.0%})",
                predicted_downtime_s(facts),
            )
        return PendingFits().decide(facts)
