"""Holding QEMU back from switching over, and letting it go, through its own parameters.

QEMU switches over when its pending bytes are below bandwidth x downtime-limit. Since 8.2 that
bandwidth can be set (avail-switchover-bandwidth); before 8.2 it is always the measured one.

What is left is a guest that has written nothing: with nothing pending, no threshold holds. Only a
destination that withholds its acknowledgement does, which the recorder is (see `acknowledgement_holds`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pagethrift.live.qmp import Version

LONGEST_LIMIT_MS = 2_000_000
"""the highest downtime-limit QEMU accepts, in milliseconds"""


@dataclass(frozen=True, slots=True)
class SwitchoverSettings:
    """The parameter values that hold QEMU and that let it go, for one version of QEMU."""

    hold: Mapping[str, int]
    go: Mapping[str, int]


# 1000 B/s x 1 ms: QEMU divides the bandwidth by 1000 first, so the threshold is one byte and only a
# clean bitmap completes. 1..999, and downtime-limit 0, make it zero; with zero, QEMU 7.2 and 9.0 or
# newer switch over at the end of a pass, without looking at what was dirtied meanwhile.
_WITH_BANDWIDTH = SwitchoverSettings(
    hold={"avail-switchover-bandwidth": 1000, "downtime-limit": 1},
    go={"avail-switchover-bandwidth": 10**12, "downtime-limit": LONGEST_LIMIT_MS},
)
_LIMIT_ONLY = SwitchoverSettings(hold={"downtime-limit": 1}, go={"downtime-limit": LONGEST_LIMIT_MS})


def switchover_settings(version: Version) -> SwitchoverSettings:
    """Return what holds and releases a QEMU of ``version``."""
    return _WITH_BANDWIDTH if version >= (8, 2, 0) else _LIMIT_ONLY


def acknowledgement_holds(version: Version, machine: str) -> bool:
    """Say whether withholding the acknowledgement (capability switchover-ack) keeps QEMU from switching over.

    QEMU 8.1 to 11.0 waits for it. From 11.1 on QEMU waits for those of its devices that asked for it, and
    the machine types of older QEMUs wait as before. ``machine`` is the full name, such as pc-q35-11.1.
    """
    if version < (11, 1, 0):
        return version >= (8, 1, 0)
    series = re.search(r"-(\d+)\.(\d+)$", machine)
    return series is not None and (int(series[1]), int(series[2])) < (11, 1)


DEFAULTS: Mapping[str, int] = {
    "downtime-limit": 300, "avail-switchover-bandwidth": 0, "max-bandwidth": 128 << 20,
}  # fmt: skip
"""QEMU's own values of what a migration here sets"""


def is_ours(parameters: Mapping[str, Any]) -> bool:
    """Say whether these parameters are those of HOLD or GO, which no operator sets."""
    limit_ms = int(parameters.get("downtime-limit", 0))
    if "avail-switchover-bandwidth" not in parameters:
        return limit_ms in (_LIMIT_ONLY.hold["downtime-limit"], LONGEST_LIMIT_MS)
    bandwidth = int(parameters["avail-switchover-bandwidth"])
    if limit_ms == _WITH_BANDWIDTH.hold["downtime-limit"]:
        return bandwidth >= _WITH_BANDWIDTH.hold["avail-switchover-bandwidth"]
    return limit_ms == LONGEST_LIMIT_MS and bandwidth == _WITH_BANDWIDTH.go["avail-switchover-bandwidth"]


@dataclass(slots=True)
class Switchover:
    """Carries HOLD and GO out on one source; ``set_parameters`` remembers the operator's values."""

    set_parameters: Callable[[Mapping[str, int]], Awaitable[None]]
    version: Version
    bitmap_bytes: int = 0
    """what QEMU counts as pending of dirty bitmaps to the end; HOLD must not keep it from new rounds"""
    gone: bool = field(default=False, init=False)
    """GO has been sent"""

    async def hold(self) -> None:
        """Keep QEMU in pre-copy until `go`. Raises QmpError."""
        values = dict(switchover_settings(self.version).hold)
        if self.bitmap_bytes and "avail-switchover-bandwidth" in values:
            values["avail-switchover-bandwidth"] = 1000 * (self.bitmap_bytes + 1)
        elif self.bitmap_bytes:  # a threshold of bandwidth x limit: sure from 1 MB/s on
            values["downtime-limit"] = min(LONGEST_LIMIT_MS, 1 + self.bitmap_bytes // 1000)
        await self.set_parameters(values)

    async def leave_to_qemu(self, downtime_limit_s: float) -> None:
        """Let QEMU decide by its own rule with this limit in seconds. Raises QmpError."""
        limit_ms = min(LONGEST_LIMIT_MS, max(1, round(downtime_limit_s * 1000)))
        values = {"downtime-limit": limit_ms}
        if self.version >= (8, 2, 0):
            values["avail-switchover-bandwidth"] = 0
        await self.set_parameters(values)

    async def go(self) -> None:
        """Make QEMU stop the guest and send the rest, within about 100 ms. Raises QmpError."""
        self.gone = True
        await self.set_parameters(switchover_settings(self.version).go)
