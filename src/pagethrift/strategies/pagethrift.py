"""The default: of skip, subpage delta, sparse and full, the method with the fewest bytes; hot pages wait.

A page that arrived changed in ``hot_rounds`` rounds running and does so again will most likely
change before the end, so forwarding this version would be wasted. It waits in the relay until it is
quiet for a round, as long as all waiting pages fit a share of the downtime limit. Holding costs no
bytes (a delta over two changes is at most as long as two deltas). Its cost in downtime is bounded by
the share and counted in the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.methods import Allow
from pagethrift.model.pages import Bools
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, PageFacts, Signing, Status, Strategy
from pagethrift.strategies.holds import fitting, overflowing, quiet, rounds_changed
from pagethrift.strategies.stop.rules import DowntimePredicted


@dataclass(frozen=True, slots=True)
class HoldHot:
    """Keep pages that change every round while they fit a share of the downtime limit."""

    hot_rounds: float = 2
    """a hot page changed in so many rounds running before this one; at most 7"""
    share: float = 0.25
    """share of the downtime limit that held pages may fill; 0 holds nothing"""

    def hold(self, facts: PageFacts) -> Bools | None:
        """Hold the hot pages; round 0 does not count, because every page is dirty in it."""
        rounds = int(self.hot_rounds) + 1
        if facts.last or facts.history is None or facts.round < rounds or self.share <= 0:
            return None
        return fitting(rounds_changed(facts.history, facts.round, rounds) == rounds, facts, self.share)

    def release(self, facts: HeldFacts) -> Bools | None:
        """Release pages that were quiet for a round, and pages that no longer fit."""
        return quiet(facts) | overflowing(facts, self.share)


def pagethrift(
    margin: float = 0.85,
    accept: float = 1.0,
    patience: float = 3,
    hot_rounds: float = 2,
    hold_share: float = 0.25,
) -> Strategy:
    """Return the row; the first three are DowntimePredicted's, the others HoldHot's."""
    return Strategy(
        name="pagethrift",
        summary="skip, subpage delta or full, whichever is least; stop on predicted downtime",
        source="this project",
        status=Status.OURS,
        signing=Signing.SUBPAGES,
        hold=HoldHot(hot_rounds, hold_share),
        encode=AlwaysAllow(Allow.SKIP | Allow.DELTA | Allow.SPARSE | Allow.CHANNEL),
        stop=DowntimePredicted(margin, accept, patience),
        parameters={
            "margin": margin,
            "accept": accept,
            "patience": patience,
            "hot_rounds": hot_rounds,
            "hold_share": hold_share,
        },
        needs_history=True,
    )
