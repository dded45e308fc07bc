"""Xen since 4.6: `send_memory_live` (xg_sr_save.c) under libxl's policy (libxl_dom_save.c).

The policy stops when a round begins with less than 50 dirty pages or after 5 rounds. Migration v2
sends every page of the round's bitmap, even if it is dirty again: it has no peek as in
`xc_domain_save` (``peek`` = 1 brings it back, as in strategy xen).

Live: kvm-default with this stop rule; with ``peek``, strategy xen with this stop rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Simulated, Status, Strategy
from pagethrift.strategies.stop.rules import CONTINUE, switch_over
from pagethrift.strategies.xen import SkipDirtyAgain


@dataclass(frozen=True, slots=True)
class LibxlPolicy:
    """`libxl__domain_save_precopy_policy`."""

    rounds: float = 5
    """LIBXL_XGS_POLICY_MAX_ITERATIONS"""
    pages: float = 50
    """LIBXL_XGS_POLICY_TARGET_DIRTY_COUNT"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide at the beginning of a round on its dirty pages."""
        if facts.round < 1:
            return CONTINUE
        if facts.round >= self.rounds:
            return switch_over(facts, f"{facts.round} rounds done")
        if facts.round_dirty_pages and facts.round_dirty_pages[-1] < self.pages:
            return switch_over(facts, f"{facts.round_dirty_pages[-1]} pages dirty, less than {self.pages:g}")
        return CONTINUE


def xen_libxl(rounds: float = 5, pages: float = 50, peek: float = 0) -> Strategy:
    """Return the row; ``rounds`` and ``pages`` are LibxlPolicy's, ``peek`` = 1: hold as xen does."""
    return Strategy(
        name="xen-libxl",
        summary="every dirty page each round; stop below 50 pages or after 5 rounds",
        source="Xen 4.6+, xg_sr_save.c and libxl_dom_save.c",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=SkipDirtyAgain() if peek else HoldNothing(),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=LibxlPolicy(rounds, pages),
        parameters={"rounds": rounds, "pages": pages, "peek": peek},
        needs_history=bool(peek),
        live="with peek: as xen" if peek else "",
        simulated=Simulated(peeks=bool(peek)),
    )
