"""Before anything moves: which guests will not make it, how sure that is, and what would help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    chosen: Timetable,
    worst: Timetable,
    guests: Mapping[str, Leaver],
    links: Links,
    deadline_s: float,
) -> tuple[Outlook, ...]:
    """Return one outlook for each guest, in the order in which they begin; ``worst``: all goes badly."""
    found = []
    for leaving in chosen.leavings:
        worst_out_s = worst.of(leaving.name).out_s
        verdict = _verdict(leaving, worst_out_s, deadline_s)
        helps = (
            ()
            if verdict is Verdict.YES
            else _helps(leaving, worst_out_s, guests[leaving.name], links, deadline_s)
        )
        found.append(
            Outlook(
                leaving.name, verdict, leaving.begins_s, leaving.out_s, worst_out_s, leaving.downtime_s,
                leaving.bytes, helps,
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
    leaving: Leaving, worst_out_s: float, guest: Leaver, links: Links, deadline_s: float
) -> tuple[str, ...]:
    """Return what would get this guest out in time and within its limit."""
    alone_s, best_bps = best_total_s(guest, links), links.best_bps(guest.destination)
    if math.isfinite(alone_s):
        helps = []
        if math.isfinite(leaving.out_s) and not leaving.forced:
            until_s = worst_out_s if math.isfinite(worst_out_s) else leaving.out_s
            if until_s > deadline_s:
                helps.append(f"later: a deadline {format_seconds(until_s - deadline_s)} later")
        elif alone_s <= deadline_s:
            helps.append(f"earlier: alone on the link it is out after {format_seconds(alone_s)}")
        return tuple(helps) or ("later: more time after the others are out",)
    helps = [_more_link(guest, best_bps)] if guest.costs.points else []
    if guest.costs.throttled:
        helps.append(
            'throttle: options = ["--plain", "--auto-converge"] slows the guest down until it converges'
        )
    if guest.force_after_s is None:
        downtime_s = guest.costs.forced_downtime_s
        about = f", for about {format_seconds(downtime_s)}" if downtime_s is not None else ""
        helps.append(f"force: force_after stops it above its downtime limit{about}")
    elif leaving.forced:
        helps.append("a higher downtime_limit, if what it is forced to is acceptable")
    return tuple(helps) or ("later: when the guest writes less",)


def _more_link(guest: Leaver, best_bps: float) -> str:
    needed, has = format_bandwidth(guest.costs.converges_from_bps), format_bandwidth(best_bps)
    return f"a faster link: it converges from {needed} on, and has {has}"
