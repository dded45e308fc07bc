"""Hu et al., "A Time-Series Based Precopy Approach for Live Migration of Virtual Machines", ICPADS 2011.

Reconstructed: each page has a time series of its bits in the last N dirty bitmaps; a page that was
dirty K or more times is sent in the last round only. N = 5 and K = 3 are ours (the thesis says
"when the bit reaches 5": N = K = 5). K = 2 holds nearly every page that is written; K = 5 holds
nothing before five rounds. Rounds as in strategy xen, 3 to 5 of them.

Live: a page arrives in a round exactly if it was dirty when the round began, so the series is the
same. Held pages may fill a share of the downtime limit; what does not fit is forwarded. Round 0,
in which all pages are dirty, is not in the series.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.methods import Allow
from pagethrift.model.pages import Bools
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, PageFacts, Signing, Status, Strategy
from pagethrift.strategies.holds import fitting, overflowing, rounds_changed
from pagethrift.strategies.xen import XenRule


@dataclass(frozen=True, slots=True)
class HoldFrequent:
    """Keep pages that were dirty in many of the last rounds for the last one."""

    series: float = 5
    """N: length of the series in rounds, this one included; at most 8"""
    ones: float = 3
    """K: a page dirty in so many of them is held"""
    share: float = 1.0
    """share of the downtime limit that held pages may fill"""

    def hold(self, facts: PageFacts) -> Bools | None:
        """Hold the frequent pages."""
        if facts.last or facts.history is None or facts.round < 1:
            return None
        dirty = rounds_changed(facts.history, facts.round, int(self.series))
        return fitting(dirty >= self.ones, facts, self.share)

    def release(self, facts: HeldFacts) -> Bools | None:
        """Release only what no longer fits; the rest waits for the last round."""
        return overflowing(facts, self.share)


def hu(series: float = 5, ones: float = 3, share: float = 1.0, rounds: float = 5) -> Strategy:
    """Return the row; ``series``, ``ones`` and ``share`` are HoldFrequent's; at most ``rounds`` rounds."""
    return Strategy(
        name="hu",
        summary="pages dirty in 3 of the last 5 rounds wait for the last; 5 rounds at most",
        source="Hu et al., ICPADS 2011",
        status=Status.RECONSTRUCTED,
        signing=Signing.NOTHING,
        hold=HoldFrequent(series, ones, share),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=XenRule(rounds),
        parameters={"series": series, "ones": ones, "share": share, "rounds": rounds},
        needs_history=True,
        live="held pages are bounded by a share of the downtime limit",
    )
