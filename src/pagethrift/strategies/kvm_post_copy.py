"""QEMU's post-copy: move the guest at once, let the destination ask for what it lacks.

Exact: `migrate-start-postcopy` as soon as it is accepted. Live: QEMU's own, without the relay,
because in post-copy the destination asks the source for single pages:
`pagethrift migrate --plain --post-copy`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import CONTINUE

REFUSAL = "post-copy is QEMU's own, without the relay: use --plain --post-copy"


@dataclass(frozen=True, slots=True)
class PostCopyAt:
    """Start post-copy at the beginning of a round."""

    from_round: float = 0
    """0 = at once; libvirt's usual way is 1, after the first pass"""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on the round alone."""
        if facts.round < self.from_round:
            return CONTINUE
        return StopDecision(StopAction.START_POST_COPY, f"post-copy from round {self.from_round:g} on")


def kvm_post_copy(from_round: float = 0) -> Strategy:
    """Return the row; ``from_round``: the round whose beginning starts it."""
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
