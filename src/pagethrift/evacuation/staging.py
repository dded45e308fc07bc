"""Pre-staging: guests are brought over under a cap and kept near their end, to be switched over later at
once.

A guest that is kept near its end goes on sending what it dirties. It needs at least the bandwidth from
which it converges, so not all guests may fit under the cap; the others leave afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pagethrift.evacuation.link import Links
from pagethrift.evacuation.policy import Leaver, Policy
from pagethrift.evacuation.timetable import Timetable, timetable

LEAST_LAST_S = 1.0
"""from the word to go until the guest runs elsewhere, at the least: the last round and the switchover"""


@dataclass(frozen=True, slots=True)
class Staging:
    """Who is brought over before the time to switch, and what that takes."""

    before: Timetable
    """under the cap; ``out_s`` is when the guest is near its end and waits"""
    staged: tuple[str, ...]
    kept_bps: float
    """what they take of the link while they wait"""

    @property
    def ready_s(self) -> float:
        """When all that are staged wait for the word."""
        return self.before.last_out_s


def stage(
    guests: Mapping[str, Leaver], links: Links, cap_bps: float, at_once: int, until_s: float | None
) -> Staging:
    """Choose whom to bring over under the cap: those that need least come first, as many as fit.

    ``until_s``: when it is switched over, None: when an operator says so.
    """
    capped = Links(min(cap_bps, links.host_bps), links.destinations)
    by_need = sorted(guests, key=lambda name: (guests[name].costs.converges_from_bps, name))
    chosen, kept_bps = [], 0.0
    for name in by_need:
        need_bps = guests[name].costs.converges_from_bps
        if kept_bps + need_bps <= capped.host_bps:
            chosen.append(name)
            kept_bps += need_bps
    held = {name: replace(guests[name], force_after_s=None) for name in chosen}
    before = timetable(Policy("pre-staging", tuple(chosen), at_once, careful=True), held, capped)
    limit_s = math.inf if until_s is None else until_s
    staged = tuple(
        each.name for each in before.leavings if each.out_s <= limit_s and math.isfinite(each.out_s)
    )
    return Staging(before, staged, sum(guests[name].costs.converges_from_bps for name in staged))


def after_staging(guests: Mapping[str, Leaver], staging: Staging, links: Links) -> dict[str, Leaver]:
    """Return the guests as they are at the word to go: those staged have only their last round before
    them."""
    found = dict(guests)
    for name in staging.staged:
        costs = guests[name].costs
        points = []
        for point in costs.points:
            estimate = point.estimate
            last_s = max(LEAST_LAST_S, 2 * estimate.downtime_s.median)
            part = min(1.0, last_s / estimate.total_s.median)
            points.append(
                replace(
                    point,
                    estimate=replace(
                        estimate, total_s=estimate.total_s.scaled(part), bytes=estimate.bytes.scaled(part)
                    ),
                )
            )
        found[name] = replace(guests[name], costs=replace(costs, points=tuple(points)), start_s=0.0)
    return found
