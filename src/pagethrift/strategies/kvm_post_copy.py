"""QEMU's post-copy: move the guest at once; the destination asks for the pages that it lacks.

Exact: `migrate-start-postcopy` as soon as QEMU accepts it. Live: QEMU's own feature, without the relay,
because in post-copy the destination asks the source for single pages:
`pagethrift migrate --plain --post-copy`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import CONTINUE

REFUSAL = "post-copy is QEMU's own, outside the relay; use --plain --post-copy"


@dataclass(frozen=True, slots=True)
class PostCopyAt:
    """Start post-copy at the beginning of a round."""

    from_round: float = 0
    """0 = at once; libvirt usually starts after the first pass, which is 1"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on the round alone."""
        if facts.round < self.from_round:
            return CONTINUE
        return StopDecision(StopAction.START_POST_COPY, f"post-copy from round {self.from_round:g} on")


def kvm_post_copy(from_round: float = 0) -> Strategy:
    """Return the row; ``from_round``: post-copy starts when this round begins."""
    return Strategy(
        name="kvm-post-copy",
        summary="move the guest at once, fault the rest in at the destination",
        source="QEMU migration/postcopy-ram.c",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=PostCopyAt(from_round),
        qemu_decides=True,
        parameters={"from_round": from_round},
        refuses_live=f"strategy kvm-post-copy: {REFUSAL}",
    )
