"""What one guest's migration takes, as a function of the bandwidth that it gets.

This is the only thing that an evacuation knows of a guest. It comes from a forecast, or from what the plan
states.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from pagethrift.errors import UsageError

STATED_BPS = tuple(125_000 * 2**step for step in range(18))
"""1 Mbit/s to 131 Gbit/s: the bandwidths at which stated numbers are worked out"""
MOST_ROUNDS = 60
"""a migration that has not ended by then gains nothing any more"""
WORST, BEST = 2.0, 0.5
"""of a stated dirty rate: in a migration guests were seen to dirty two to three times what was measured
before"""


@dataclass(frozen=True, slots=True)
class Range:
    """A median and the ends of the interval that should cover nine of ten migrations."""

    low: float
    median: float
    high: float

    def scaled(self, factor: float) -> Range:
        """Return all three times ``factor``."""
        return Range(self.low * factor, self.median * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One migration at one bandwidth, from its first byte until the guest runs elsewhere."""

    total_s: Range
    downtime_s: Range
    bytes: Range
    """on the link"""

    def pessimistic(self) -> Estimate:
        """Return the estimate whose median is the upper end of this one."""
        worst = [
            Range(each.high, each.high, each.high) for each in (self.total_s, self.downtime_s, self.bytes)
        ]
        return Estimate(*worst)


@dataclass(frozen=True, slots=True)
class Point:
    """An estimate and its bandwidth in bytes per second."""

    bps: float
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Costs:
    """One guest's estimates over bandwidths; below the first it does not converge."""

    points: tuple[Point, ...]
    """by bandwidth, the lowest first; empty: it converges on no link"""
    throttled: bool = False
    """it would converge if QEMU slowed it down (auto-converge)"""

    def __post_init__(self) -> None:
        """Raise UsageError for points that are no function of the bandwidth."""
        rates = [point.bps for point in self.points]
        if any(rate <= 0 for rate in rates) or any(b <= a for a, b in pairwise(rates)):
            raise UsageError("a guest's estimates need bandwidths that are positive and rise")

    @property
    def converges_from_bps(self) -> float:
        """The lowest bandwidth at which it ends by itself; infinite if there is none."""
        return self.points[0].bps if self.points else math.inf

    @property
    def fastest_bps(self) -> float:
        """More than this makes nothing faster."""
        return self.points[-1].bps if self.points else 0.0

    def at(self, bps: float) -> Estimate | None:
        """Return the estimate for a bandwidth, between two known ones in proportion; None: no convergence."""
        if bps < self.converges_from_bps * (1 - 1e-9):
            return None
        rates = [point.bps for point in self.points]
        place = bisect_left(rates, bps)
        if place == len(rates):
            return self.points[-1].estimate
        if place == 0 or rates[place] == bps:
            return self.points[place].estimate
        before, after = self.points[place - 1], self.points[place]
        share = math.log(bps / before.bps) / math.log(after.bps / before.bps)
        a, b = before.estimate, after.estimate
        return Estimate(
            _between(a.total_s, b.total_s, share),
            _between(a.downtime_s, b.downtime_s, share),
            _between(a.bytes, b.bytes, share),
        )

    def pessimistic(self) -> Costs:
        """Return the costs if everything came as badly as the upper ends say."""
        kept = [Point(each.bps, each.estimate.pessimistic()) for each in self.points]
        return replace(self, points=tuple(each for each in kept if math.isfinite(each.estimate.total_s.high)))

    def within(self, limit_s: float) -> Costs:
        """Return the costs without the bandwidths at which the downtime's median passes ``limit_s``."""
        fits = [each for each in self.points if each.estimate.downtime_s.median <= limit_s]
        return replace(self, points=tuple(fits))


def stated(memory_bytes: float, dirty_bps: float, limit_s: float) -> Costs:
    """Return the costs of a guest of which only memory and dirty rate (bytes a second) are known.

    The textbook's formula: each round sends what was dirtied in the round before, until the rest fits the
    downtime limit. It knows no hot pages and no thinning, so it asks for more than most guests take.
    """
    points = []
    for bps in STATED_BPS:
        middle = _rounds(memory_bytes, dirty_bps, limit_s, bps)
        if middle is None:
            continue
        best = _rounds(memory_bytes, dirty_bps * BEST, limit_s, bps) or middle
        worst = _rounds(memory_bytes, dirty_bps * WORST, limit_s, bps) or (math.inf, limit_s, math.inf)
        total, downtime, sent = (Range(*three) for three in zip(best, middle, worst, strict=True))
        three = (downtime.low, downtime.median, downtime.high)  # one round more or less turns them round
        downtime = Range(min(three), downtime.median, max(three))
        points.append(Point(float(bps), Estimate(total, downtime, sent)))
    return Costs(tuple(points), throttled=True)


def _rounds(
    memory_bytes: float, dirty_bps: float, limit_s: float, bps: float
) -> tuple[float, float, float] | None:
    """Return (total time, downtime, bytes); None: the rest never fits the limit."""
    rest, sent = memory_bytes, 0.0
    for _ in range(MOST_ROUNDS):
        sent += rest
        rest = min(memory_bytes, dirty_bps * rest / bps)
        if rest <= limit_s * bps:
            return (sent + rest) / bps, rest / bps, sent + rest
    return None


def _between(a: Range, b: Range, share: float) -> Range:
    return Range(
        _mixed(a.low, b.low, share), _mixed(a.median, b.median, share), _mixed(a.high, b.high, share)
    )


def _mixed(a: float, b: float, share: float) -> float:
    """Return what lies between on a logarithmic scale; where one is infinite or zero, the larger of the
    two."""
    if not (0 < a < math.inf and 0 < b < math.inf):
        return max(a, b)
    return a * math.pow(b / a, share)


def joined(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return points by bandwidth, one for each; of two with the same bandwidth the last."""
    return tuple(point for _, point in sorted({point.bps: point for point in points}.items()))
