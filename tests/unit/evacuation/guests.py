"""Guests for planners: what they take is a short formula, so that tests can work it out by hand."""

from __future__ import annotations

import math
from typing import Any

from pagethrift.evacuation.costs import Costs, Estimate, Point, Range
from pagethrift.evacuation.policy import Leaver

MB = 1_000_000.0


def costs(
    megabytes: float,
    from_mbps: float = 1.0,
    fixed_s: float = 0.0,
    spread: float = 1.0,
    to_mbps: float = 4096.0,
) -> Costs:
    """Bytes over bandwidth, from ``from_mbps`` (megabytes a second) on; ``spread``: high over median."""
    points, bps = [], from_mbps
    while bps <= to_mbps:
        total_s = fixed_s + megabytes / bps
        three = Range(total_s / spread, total_s, total_s * spread)
        sent = Range(megabytes * MB, megabytes * MB, megabytes * MB)
        points.append(Point(bps * MB, Estimate(three, Range(0.05, 0.1, 0.2), sent)))
        bps *= 2
    return Costs(tuple(points))


def leaver(name: str, megabytes: float, from_mbps: float = 1.0, destination: str = "", **more: Any) -> Leaver:
    """A guest of so many megabytes that converges from ``from_mbps`` on; infinite: never."""
    found = Costs(()) if math.isinf(from_mbps) else costs(megabytes, from_mbps)
    return Leaver(name, destination, found, ram_bytes=megabytes * MB, **more)


def together(*leavers: Leaver) -> dict[str, Leaver]:
    """Guests by their names."""
    return {each.name: each for each in leavers}
