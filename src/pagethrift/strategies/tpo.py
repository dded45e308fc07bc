"""Sharma and Chawla, "A three phase optimization method for precopy based VM live migration",
SpringerPlus 5:1022, 2016 (TPO).

Reconstructed. Phase 1: before round 0 the guest is watched for one window, and round 0 leaves out
what was written in it (our total times do not count the window). Phase 2: a page updated more than
theta times waits for the last round; the rounds end after n of them, or when the dirty pages that are
not frequent number at most V_thd.
Phase 3: the last round is run-length encoded. The window, theta, n and V_thd are ours.

Live: there is no window (only QEMU sees single pages before the migration). Each arrival after the
first counts as an update. Held pages may fill a share of the downtime limit. Runs of zeros are encoded
as a ZERO record and XBZRLE runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import Bools
from pagethrift.strategies.base import HeldFacts, PageFacts, Signing, Simulated, Status, Strategy
from pagethrift.strategies.holds import fitting, overflowing
from pagethrift.strategies.stop.rules import CONTINUE, switch_over


@dataclass(frozen=True, slots=True)
class HoldUpdated:
    """Keep pages that were updated more than ``theta`` times for the last round."""

    theta: float = 2
    share: float = 1.0
    """share of the downtime limit that held pages may fill"""

    def hold(self, facts: PageFacts) -> Bools | None:
        """Hold the frequent pages; in round 0, the pages written while the guest was watched."""
        if facts.last:
            return None
        updates = facts.arrivals.astype(np.int64)
        if facts.watched is not None:
            updates += facts.watched
        if facts.round < 1:
            return None if facts.watched is None else fitting(facts.watched > 0, facts, self.share)
        return fitting(updates > self.theta, facts, self.share)

    def release(self, facts: HeldFacts) -> Bools | None:
        """Release pages that no longer fit and, from round 1 on, pages held only because of the window."""
        rarely = facts.arrivals.astype(np.int64)
        if facts.watched is None:
            return overflowing(facts, self.share)
        rarely += facts.watched
        return overflowing(facts, self.share) | ((rarely <= self.theta) & (facts.round >= 1))


@dataclass(frozen=True, slots=True)
class RunLengthAtTheEnd:
    """Run-length encoding in the last round only."""

    def allow(self, facts: PageFacts) -> Allow:
        """Allow runs of zeros once the switchover is decided."""
        return Allow.SPARSE if facts.last else Allow.NOTHING


@dataclass(frozen=True, slots=True)
class FewLeft:
    """At most ``rounds`` rounds, or few dirty pages besides the frequent ones."""

    rounds: float = 10
    pages: float = 50
    """V_thd"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide at the beginning of a round; held pages are the frequent ones."""
        if facts.round < 1:
            return CONTINUE
        if facts.round >= self.rounds:
            return switch_over(facts, f"{facts.round} rounds done")
        dirty = facts.round_dirty_pages[-1] if facts.round_dirty_pages else facts.remaining_pages
        if dirty - facts.held_pages <= self.pages:
            return switch_over(facts, f"at most {self.pages:g} dirty pages besides the frequent ones")
        return CONTINUE


def tpo(
    theta: float = 2, share: float = 1.0, rounds: float = 10, pages: float = 50, watch_s: float = 1.0
) -> Strategy:
    """Return the row; ``watch_s``: the window before round 0; the rest are HoldUpdated's and FewLeft's."""
    return Strategy(
        name="tpo",
        summary="pages updated often wait for the last round, which is run-length encoded",
        source="Sharma and Chawla, SpringerPlus 5:1022, 2016",
        status=Status.RECONSTRUCTED,
        signing=Signing.NOTHING,
        hold=HoldUpdated(theta, share),
        encode=RunLengthAtTheEnd(),
        stop=FewLeft(rounds, pages),
        parameters={"theta": theta, "share": share, "rounds": rounds, "pages": pages, "watch_s": watch_s},
        live="no watching before round 0; held pages are bounded by a share of the downtime limit",
        simulated=Simulated(watch_s=watch_s),
    )
