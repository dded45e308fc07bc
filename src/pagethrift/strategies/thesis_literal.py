"""The thesis's pseudo-code as printed: skip a page whose hash was seen in *any* earlier round.

Contents A, B, A of one page leave B at the destination. A simulator runs this strategy and counts the
pages that end stale. Live it would corrupt the guest, so it is refused. (The relay's ledger would not
skip such a page anyway: an encode answer only permits.)
"""

from __future__ import annotations

from dataclasses import replace

from pagethrift.strategies.base import Simulated, Strategy
from pagethrift.strategies.thesis import thesis


def thesis_literal(threshold: float = 0.75, per_round: float = 0) -> Strategy:
    """Return the row; its parameters are those of strategy thesis."""
    return replace(
        thesis(threshold, per_round),
        name="thesis-literal",
        summary="as printed: skip a page whose hash was seen in any earlier round",
        source="Jain, NCI 2021, pseudo-code",
        refuses_live=(
            "strategy thesis-literal leaves stale pages at the destination and only runs in a simulation;"
            " use --strategy thesis"
        ),
        simulated=Simulated(skips_seen=True),
    )
