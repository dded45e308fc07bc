"""The default: whichever of skip, subpage delta, sparse and full is least bytes."""

from __future__ import annotations

from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stops import DowntimePredicted


def pagethrift(margin: float = 0.85) -> Strategy:
    """Return the row; ``margin``: share of the downtime limit that may be predicted."""
    return Strategy(
        name="pagethrift",
        summary="skip, subpage delta or full, whichever is least; stop on predicted downtime",
        source="this project",
        status=Status.OURS,
        signing=Signing.SUBPAGES,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.SKIP | Allow.DELTA | Allow.SPARSE),
        stop=DowntimePredicted(margin),
        parameters={"margin": margin},
    )
