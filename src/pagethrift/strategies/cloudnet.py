"""CloudNet: Wood et al., "CloudNet: Dynamic Pooling of Cloud Resources by Live WAN Migration", VEE 2011.

Page deltas, content-based redundancy elimination, and "Smart Stop": rounds pay as long as each
leaves less than it sent; once a round's remainder is at least what the round before sent, the
migration ends at the next local minimum of the remainder. Reconstructed: a minimum is a remainder
below those of all the last ``window`` rounds. The caps of Xen, on which CloudNet is built, stay: 50
pages, 30 rounds.

Live: deltas are ours (subpages) instead of a page cache's. Equal contents are skipped for the same
page only, because QEMU's stream cannot refer to another page.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Simulated, Status, Strategy
from pagethrift.strategies.stop.rules import CONTINUE, switch_over


@dataclass(frozen=True, slots=True)
class SmartStop:
    """Stop at the first local minimum after the rounds have ceased to shrink."""

    window: float = 5
    """how many last rounds a minimum must be below"""
    pages: float = 50
    rounds: float = 30

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide at the beginning of a round on the dirty pages of all rounds so far."""
        dirty = facts.round_dirty_pages
        if facts.round < 1 or len(dirty) < 2:
            return CONTINUE
        if dirty[-1] < self.pages:
            return switch_over(facts, f"{dirty[-1]} pages dirty, less than {self.pages:g}")
        if facts.round >= self.rounds:
            return switch_over(facts, f"{facts.round} rounds done")
        crossed = next((i for i in range(1, len(dirty)) if dirty[i] >= dirty[i - 1]), len(dirty))
        recent = dirty[max(0, len(dirty) - 1 - int(self.window)) : -1]
        if crossed < len(dirty) - 1 and dirty[-1] < min(recent, default=0):
            return switch_over(facts, f"{dirty[-1]} pages dirty, a local minimum after round {crossed}")
        return CONTINUE


def cloudnet(window: float = 5, pages: float = 50, rounds: float = 30) -> Strategy:
    """Return the row; the parameters are SmartStop's."""
    return Strategy(
        name="cloudnet",
        summary="deltas and deduplication; stop at a minimum once rounds cease to shrink",
        source="Wood et al., VEE 2011",
        status=Status.RECONSTRUCTED,
        signing=Signing.SUBPAGES,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.SKIP | Allow.DELTA),
        stop=SmartStop(window, pages, rounds),
        parameters={"window": window, "pages": pages, "rounds": rounds},
        live="no references to equal contents of other pages",
        simulated=Simulated(deduplicates=True),
    )
