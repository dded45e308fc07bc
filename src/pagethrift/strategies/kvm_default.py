"""QEMU's own pre-copy: every page travels in full and QEMU decides when to stop."""

from __future__ import annotations

from pagethrift.model.methods import Allow
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import PendingFits


def kvm_default() -> Strategy:
    """Return the row. Live: the relay forwards every record; QEMU applies its downtime limit."""
    return Strategy(
        name="kvm-default",
        summary="every page in full, QEMU decides",
        source="QEMU migration/ram.c, migration.c",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=PendingFits(),
        qemu_decides=True,
    )
