"""Before anything moves: which guests will not make it, how sure that is, and what would help."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pagethrift.evacuation.link import Links
from pagethrift.evacuation.planner import best_total_s
from pagethrift.evacuation.policy import Leaver
from pagethrift.evacuation.timetable import Leaving, Timetable
from pagethrift.units import format_bandwidth, format_seconds


class Verdict(StrEnum):
    """Whether a guest is out by the deadline, within its downtime limit."""

    YES = "yes"
    PERHAPS = "perhaps"
    """if all goes as it does in the middle, but not if all goes badly"""
    NO = "no"
    FORCED = "forced"
    """out in time, but switched over above its limit"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one guest may expect; times are seconds from the beginning."""

    name: str
    verdict: Verdict
    begins_s: float
    out_s: float
    worst_out_s: float
    """if every guest takes as long as the upper end of its forecast"""
    downtime_s: float
    bytes: float
    helps: tuple[str, ...] = ()
    """sentences; empty where nothing is needed"""


def outlooks(
    chosen: Timetable, worst: Timetable, guests: Mapping[str, Leaver], links: Links, deadline_s: float
) -> tuple[Outlook, ...]:
    """Return one outlook for each guest, in the order in which they begin; ``worst``: all goes badly."""
    found = []
    for leaving in chosen.leavings:
        guest, worst_out_s = guests[leaving.name], worst.of(leaving.name).out_s
        verdict = _verdict(leaving, worst_out_s, deadline_s)
        found.append(
            Outlook(
                leaving.name, verdict, leaving.begins_s, leaving.out_s, worst_out_s, leaving.downtime_s,
                leaving.bytes, _helps(verdict, leaving, worst_out_s, guest, links, deadline_s),
            )
        )  # fmt: skip
    return tuple(found)


def _verdict(leaving: Leaving, worst_out_s: float, deadline_s: float) -> Verdict:
    if leaving.out_s > deadline_s:
        return Verdict.NO
    if leaving.forced:
        return Verdict.FORCED
    return Verdict.YES if worst_out_s <= deadline_s else Verdict.PERHAPS


def _helps(
    verdict: Verdict, leaving: Leaving, worst_out_s: float, guest: Leaver, links: Links, deadline_s: float
) -> tuple[str, ...]:
    """Return what would get this guest out in time and within its limit."""
    if verdict is Verdict.YES:
        return ()
    badly = replace(guest, costs=guest.costs.pessimistic())
    judged = badly if verdict is Verdict.PERHAPS else guest
    alone_s = best_total_s(judged, links)
    if not math.isfinite(alone_s):
        return tuple(_ways_to_converge(judged, verdict, links.best_bps(guest.destination)))
    helps = []
    out_s = max((each for each in (leaving.out_s, worst_out_s) if math.isfinite(each)), default=0.0)
    if out_s > deadline_s and verdict is not Verdict.FORCED:
        helps.append(f"later: a deadline {format_seconds(out_s - deadline_s)} later")
    if alone_s <= deadline_s:
        helps.append(f"first: alone on the link it is out after {format_seconds(alone_s)} at the worst")
    return tuple(helps) or (f"later: alone on the link it takes {format_seconds(alone_s)}",)


def _ways_to_converge(guest: Leaver, verdict: Verdict, best_bps: float) -> Iterator[str]:
    """Yield what would make a guest converge that does not even have the link for itself."""
    if verdict is Verdict.PERHAPS:
        yield "forecast: if it writes as much as the upper end of what is known, it does not converge"
    if guest.costs.points:
        needed, has = format_bandwidth(guest.costs.converges_from_bps), format_bandwidth(best_bps)
        yield f"link: it converges from {needed} on, and has {has}"
    if guest.costs.throttled:
        yield 'throttle: options = ["--plain", "--auto-converge"] slows it down until it converges'
    if guest.force_after_s is None:
        yield "force: force_after stops it above its downtime limit"
    elif verdict is Verdict.FORCED:
        yield "limit: a higher downtime_limit, if what it is forced to is acceptable"
    yield "later: when it writes less"
