"""Holding QEMU back from switching over, and letting it go, by libvirt's API alone.

QEMU switches over when its pending bytes are below bandwidth x downtime. The downtime can be set while it
migrates. The bandwidth is what QEMU has measured, which is how fast the relay reads; from libvirt 11 on (and
QEMU 8.2) it can be given at the start instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pagethrift.errors import VirtError
from pagethrift.live.helm import Decider
from pagethrift.live.switchover import DEFAULTS, LONGEST_LIMIT_MS
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.virt.hypervisor import Domain, Hypervisor

HOLD_MS = 1
"""0 would let QEMU 7.2 go at the end of any pass"""
AVAILABLE = "bandwidth.avail.switchover"
AVAILABLE_MIB = 3
"""MiB/s. HOLD: x 1 ms is less than a page, so that only a clean bitmap completes. GO: x 2000 s is 6 GB, which
more than 3 MiB/s would extend but let QEMU go with a page left in HOLD"""
AVAILABLE_LIBVIRT, AVAILABLE_QEMU = 11_000_000, 8_002_000


def held_parameters(source: Hypervisor, destination: Hypervisor | None) -> Mapping[str, Any]:
    """Return what the migration must be started with so that HOLD holds; empty where a libvirt is too old."""
    if destination is None:
        return {}
    if min(source.version, destination.version) < AVAILABLE_LIBVIRT:
        return {}
    return {} if source.qemu_version < AVAILABLE_QEMU else {AVAILABLE: AVAILABLE_MIB}


LIBVIRT_S = 0.04
"""libvirt's own part of a downtime: it hears of the STOP, lets QEMU go on, hears of the end, tells the other
libvirt to let the guest run"""
UNREAD_BYTES = 800_000
"""of a stream, for each connection, in the kernel's buffers between QEMU and the relay (`sockets.accepted`).
Both together are what downtimes were longer than predicted, as docs/libvirt.md shows"""


class Allowing:
    """Asks another decider what fits into what libvirt's own part leaves of the downtime limit."""

    def __init__(self, decider: Decider, connections: int = 1) -> None:
        """Ask ``decider``; QEMU sends over so many ``connections``."""
        self._decider = decider
        self._unread_bytes = UNREAD_BYTES * connections

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the other's decision, its prediction with libvirt's part."""
        taken_s = LIBVIRT_S + (self._unread_bytes / facts.link_bps if facts.link_bps > 0 else 0.0)
        left_s = max(facts.downtime_limit_s / 2, facts.downtime_limit_s - taken_s)
        decision = self._decider.decide(replace(facts, downtime_limit_s=left_s))
        predicted_s = decision.predicted_downtime_s
        if predicted_s is None:
            return decision
        reason = decision.reason
        if reason:
            reason += f", and libvirt takes {taken_s * 1000:.0f} ms"
        return replace(decision, reason=reason, predicted_downtime_s=predicted_s + taken_s)


class Switchover:
    """HOLD, GO and the operator's own value, of one domain at the source."""

    def __init__(self, domain: Domain) -> None:
        self.gone = False
        """GO has been sent"""
        self.found = ""
        """what an earlier, killed pagethrift had left, as a line; empty: nothing"""
        self._domain = domain
        self._operators_ms: int | None = None
        self._one = asyncio.Lock()
        """of two calls at the same time each asks and sets by itself"""

    async def hold(self) -> None:
        """Keep QEMU in pre-copy until `go`. Raises VirtError."""
        await self._set(HOLD_MS)

    async def leave_to_qemu(self, downtime_limit_s: float) -> None:
        """Let QEMU decide by its own rule with this limit. Raises VirtError."""
        await self._set(min(LONGEST_LIMIT_MS, max(1, round(downtime_limit_s * 1000))))

    async def keep(self) -> None:
        """Hold again where another client has set another downtime; that one is put back at the end.

        Raises VirtError.
        """
        async with self._one:
            if self.gone or self._operators_ms is None:
                return
            found_ms = await self._domain.downtime_ms()
            if found_ms != HOLD_MS and not self.gone:
                self._operators_ms = found_ms
                await self._domain.set_downtime_ms(HOLD_MS)

    async def go(self) -> None:
        """Make QEMU stop the guest and send the rest. Raises VirtError."""
        self.gone = True
        await self._set(LONGEST_LIMIT_MS)

    async def restore(self) -> str:
        """Put the operator's value back, once; return an empty string, or a line that says why not.

        A domain that has moved or ended took the value with it.
        """
        async with self._one:
            return await self._restore()

    async def _restore(self) -> str:
        if self._operators_ms is None:
            return ""
        name, uri = self._domain.name, self._domain.hypervisor.uri
        advice = f"virsh -c {uri} migrate-setmaxdowntime {name} {self._operators_ms}"
        try:
            await self._domain.set_downtime_ms(self._operators_ms)
        except VirtError:
            error = await self._domain.once_more(self._operators_ms)
            if error is None:
                self._operators_ms = None
                return ""
            return f"the operator's downtime is not restored: {error}; run {advice}"
        self._operators_ms = None
        return ""

    async def _set(self, limit_ms: int) -> None:
        async with self._one:
            await self._set_alone(limit_ms)

    async def _set_alone(self, limit_ms: int) -> None:
        if self._operators_ms is None:
            found_ms = await self._domain.downtime_ms()
            if found_ms in (HOLD_MS, LONGEST_LIMIT_MS):  # no operator sets these
                self.found = (
                    f"domain {self._domain.name}: a downtime of {found_ms} ms is what a killed pagethrift"
                    f" leaves behind; QEMU's default, {DEFAULTS['downtime-limit']} ms, replaces it afterwards"
                )
                found_ms = DEFAULTS["downtime-limit"]
            self._operators_ms = found_ms
        await self._domain.set_downtime_ms(limit_ms)
