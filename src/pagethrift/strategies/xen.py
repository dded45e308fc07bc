"""Xen's pre-copy: Clark et al., "Live Migration of Virtual Machines", NSDI 2005; `xc_domain_save` to Xen 4.5.

A page of the round's bitmap (to_send) is sent only if a peek at the running bitmap, made for each
batch of 1024 pages, does not show it dirty again (to_skip); the last round sends everything. The
last round comes after 29 rounds, or a round of less than 50 pages, or three times RAM sent, or a
round that sent more than the one before it at the maximum rate. This row has no rate limit to adapt:
its rate is always the maximum, so the last condition ends migrations early; ``growth`` 0 leaves it out.
(Xen built with ADAPTIVE_SAVE had to reach 500 Mbit/s first; built without, it never asked.)

Live: a relay cannot peek at QEMU's bitmap. It holds a page that arrives in two rounds running until
the page is quiet for a round, within a share of the downtime limit. Bytes on the link stand for
pages sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import PAGE_BYTES, Bools
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, PageFacts, Signing, Simulated, Status, Strategy
from pagethrift.strategies.holds import fitting, overflowing, quiet, rounds_changed
from pagethrift.strategies.stop.rules import CONTINUE, switch_over


@dataclass(frozen=True, slots=True)
class SkipDirtyAgain:
    """Leave a page that is dirty again for a later round."""

    share: float = 1.0
    """share of the downtime limit that held pages may fill"""

    def hold(self, facts: PageFacts) -> Bools | None:
        """Hold the pages that the peek shows; without a peek, those that also arrived in the round before."""
        if facts.last:
            return None
        if facts.dirty_again is not None:
            return fitting(facts.dirty_again, facts, self.share)
        if facts.history is None or facts.round < 2:
            return None
        return fitting(rounds_changed(facts.history, facts.round, 2) == 2, facts, self.share)

    def release(self, facts: HeldFacts) -> Bools | None:
        """Release pages that were quiet for a round; as defined, dirty pages come again by themselves."""
        return None if facts.as_defined else quiet(facts) | overflowing(facts, self.share)


@dataclass(frozen=True, slots=True)
class XenRule:
    """`xc_domain_save`'s conditions for its last round, applied to the finished rounds."""

    rounds: float = 29
    """DEF_MAX_ITERS"""
    pages: float = 50
    factor: float = 3
    """DEF_MAX_FACTOR: most bytes sent, in sizes of RAM"""
    growth: float = 1
    """0: ignore whether a round sent more than the one before it"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide at the beginning of a round on the round before it."""
        sent = facts.round_sent_bytes[: facts.round]
        if facts.round < 1 or not sent:
            return CONTINUE
        if facts.round >= self.rounds:
            return switch_over(facts, f"{facts.round} rounds done")
        through = facts.round_dirty_pages[: facts.round]
        if through and through[-1] < self.pages:
            return switch_over(facts, f"a round of {through[-1]} pages, less than {self.pages:g}")
        if sum(sent) > self.factor * facts.total_pages * PAGE_BYTES:
            return switch_over(facts, f"more than {self.factor:g} x RAM sent")
        if self.growth and len(sent) > 1 and sent[-1] > sent[-2]:
            return switch_over(facts, "the round sent more than the one before it")
        return CONTINUE


def xen(
    share: float = 1.0, rounds: float = 29, pages: float = 50, factor: float = 3, growth: float = 1
) -> Strategy:
    """Return the row; live, ``share`` of the downtime limit may be held; the rest is XenRule's."""
    return Strategy(
        name="xen",
        summary="send a page only if not dirtied again in its round; 29 rounds at most",
        source="Clark et al., NSDI 2005; xc_domain_save",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=SkipDirtyAgain(share),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=XenRule(rounds, pages, factor, growth),
        parameters={"share": share, "rounds": rounds, "pages": pages, "factor": factor, "growth": growth},
        needs_history=True,
        live="holds what arrives in two rounds running instead of peeking at the dirty bitmap",
        simulated=Simulated(peeks=True),
    )
