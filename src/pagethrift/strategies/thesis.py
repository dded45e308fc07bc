"""Jain, "Optimized Pre-Copy Live Virtual Machine Migration for Memory-Intensive Workloads", NCI 2021.

Skip a dirty page whose SHA-256 equals the one last forwarded for that page, and stop
when retransferred data reaches 75 % of the first round. (The thesis compares with any
earlier round, which leaves stale pages behind; see docs/architecture.md, "Ledger truth",
and strategy thesis-literal.) Live: the same.
"""

from __future__ import annotations

from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import RetransferShare


def thesis(threshold: float = 0.75, per_round: float = 0) -> Strategy:
    """Return the row; ``threshold``: retransferred / first-round bytes, cumulative or (1) ``per_round``."""
    return Strategy(
        name="thesis",
        summary="skip pages whose SHA-256 was last forwarded; stop at 75 % retransferred",
        source="Jain, NCI 2021",
        status=Status.EXACT,
        signing=Signing.SHA256,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.SKIP),
        stop=RetransferShare(threshold, per_round),
        parameters={"threshold": threshold, "per_round": per_round},
    )
