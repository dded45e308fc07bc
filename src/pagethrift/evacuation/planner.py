"""Choosing an order: the best of many, in the model, and never worse than what managers do today."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from pagethrift.evacuation.link import Links
from pagethrift.evacuation.policy import Leaver, Policy
from pagethrift.evacuation.timetable import Timetable, timetable

MOST_TRIALS = 400
"""timetables for one plan; 50 guests take about a second"""
PLANNED = "planned"
BASELINES = ("one-after-another", "all-at-once", "nova", "kubevirt", "longest-first", "shortest-first")
"""what is done without forecasts"""

Score = tuple[int, int, float, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """The order that was chosen, and what others come to in the same model."""

    chosen: Timetable
    baselines: tuple[Timetable, ...]


def best_total_s(leaver: Leaver, links: Links) -> float:
    """Return how long a guest takes alone, in seconds; infinite if it does not converge even then."""
    estimate = leaver.costs.at(links.best_bps(leaver.destination))
    return math.inf if estimate is None else estimate.total_s.median


def baselines(guests: Mapping[str, Leaver], links: Links, at_once: int) -> tuple[Policy, ...]:
    """Return the policies of BASELINES, none with more than ``at_once`` guests on their way.

    Nova moves one guest at a time and gives it up after 800 s for each GiB, of which it has at least 2
    (max_concurrent_live_migrations, live_migration_completion_timeout). KubeVirt moves two from a node and
    gives up after 150 s for each GiB (parallelOutboundMigrationsPerNode, completionTimeoutPerGiB).
    """
    given = tuple(guests)
    shortest = tuple(sorted(given, key=lambda name: best_total_s(guests[name], links)))

    def row(name: str, order: tuple[str, ...], count: int) -> Policy:
        return Policy(name, order, max(1, min(count, at_once)))

    return (
        row("one-after-another", given, 1),
        row("all-at-once", given, len(given)),
        replace(row("nova", given, 1), patience_s_per_gib=800.0, patience_least_gib=2.0),
        replace(row("kubevirt", given, 2), patience_s_per_gib=150.0),
        row("longest-first", shortest[::-1], at_once),
        row("shortest-first", shortest, at_once),
    )


def choose(
    guests: Mapping[str, Leaver], links: Links, at_once: int, deadline_s: float, order: str = PLANNED
) -> Choice:
    """Return the best order that was found, or the baseline of the name ``order``, and the baselines.

    First come guests that get out by the deadline, then those that get out at all, then the time of the
    last, then the bytes. The baselines are tried too, so in the model nothing here is worse than any of
    them. The same guests give the same choice.
    """

    def tried(policy: Policy) -> Timetable:
        return timetable(policy, guests, links)

    def score(found: Timetable) -> Score:
        never = sum(not math.isfinite(each.out_s) for each in found.leavings)
        # to a millisecond: what is equal but for rounding is decided by the bytes
        return len(found.late(deadline_s)), never, round(found.last_out_s, 3), found.bytes

    shown = tuple(tried(policy) for policy in baselines(guests, links, at_once))
    if order != PLANNED:
        return Choice(next(each for each in shown if each.policy.name == order), shown)
    best = min((*shown, *map(tried, _openings(guests, links, at_once))), key=score)
    best = _improved(best, tried, score)
    return Choice(replace(best, policy=replace(best.policy, name=PLANNED)), shown)


def _openings(guests: Mapping[str, Leaver], links: Links, at_once: int) -> Iterator[Policy]:
    """Yield the orders that are worth a try, with every number at once."""

    def length(name: str) -> float:
        return best_total_s(guests[name], links)

    def hardness(name: str) -> float:
        return guests[name].costs.converges_from_bps

    def part_of_way(name: str) -> float:
        return guests[name].costs.converges_from_bps / links.best_bps(guests[name].destination)

    names = tuple(guests)
    orders = {
        names,
        tuple(sorted(names, key=length)),
        tuple(sorted(names, key=lambda name: (not math.isfinite(length(name)), -length(name)))),
        tuple(sorted(names, key=hardness)),
        tuple(sorted(names, key=lambda name: (not math.isfinite(hardness(name)), -hardness(name)))),
        tuple(sorted(names, key=part_of_way)),
    }
    for order in sorted(orders):
        for count in _counts(min(at_once, len(names))):
            for careful in (True, False):
                for per_destination in (None, 1) if len(links.destinations) > 1 and count > 1 else (None,):
                    yield Policy(PLANNED, order, count, per_destination, careful)


def _counts(most: int) -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12, 16 ... and ``most``."""
    count, step = 1, 1
    while count < most:
        yield count
        if count >= 4 and count & (count - 1) == 0:
            step = count // 2
        count += step
    yield most


def _improved(
    best: Timetable, tried: Callable[[Policy], Timetable], score: Callable[[Timetable], Score]
) -> Timetable:
    """Move guests to other places in the order as long as that helps, for a bounded number of trials."""
    left, best_score, found = MOST_TRIALS, score(best), True
    while found and left > 0:
        found = False
        for order in _moves(best.policy.order):
            if left <= 0:
                break
            left -= 1
            other = tried(replace(best.policy, order=order))
            if score(other) < best_score:
                best, best_score, found = other, score(other), True
                break
    return best


def _moves(order: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the order with one guest put elsewhere, the last guests first: they decide when all is over."""
    for place in range(len(order) - 1, -1, -1):
        rest = order[:place] + order[place + 1 :]
        for other in range(len(order)):
            if other != place:
                yield (*rest[:other], order[place], *rest[other:])
