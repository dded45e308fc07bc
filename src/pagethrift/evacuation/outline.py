"""The whole plan worked out: who leaves when, who is brought over before, who will not make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pagethrift.evacuation.advice import Outlook, outlooks
from pagethrift.evacuation.costs import Costs
from pagethrift.evacuation.plan import Plan
from pagethrift.evacuation.planner import PLANNED, Choice, choose
from pagethrift.evacuation.policy import Leaver
from pagethrift.evacuation.staging import Staging, after_staging, stage
from pagethrift.evacuation.timetable import timetable


@dataclass(frozen=True, slots=True)
class Outline:
    """What will be done and what that comes to; times count from the beginning, with pre-staging from the
    go."""

    guests: Mapping[str, Leaver]
    """those that have still to leave"""
    choice: Choice
    outlooks: tuple[Outlook, ...]
    deadline_s: float
    staging: Staging | None = None


def outline(
    plan: Plan,
    costs: Mapping[str, tuple[Costs, float]],
    deadline_s: float,
    switch_s: float | None = None,
    order: str = PLANNED,
) -> Outline:
    """Work a plan out for the guests in ``costs``: each one's costs, and its memory in bytes.

    ``deadline_s`` and ``switch_s``: seconds from now; ``switch_s`` None: nobody knows when it is switched
    over.
    """
    guests = {
        each.name: Leaver(
            each.name, each.destination, costs[each.name][0].within(each.downtime_limit_s),
            each.force_after_s, each.give_up_after_s, costs[each.name][1], plan.start_s,
        )
        for each in plan.guests
        if each.name in costs
    }  # fmt: skip
    staging, left_s = None, deadline_s
    leaving = guests
    if plan.prestage is not None:
        may = {each.name for each in plan.guests if each.prestage}
        first = {name: each for name, each in guests.items() if name in may}
        staging = stage(first, plan.links, plan.prestage.bandwidth_bps, plan.concurrency, switch_s)
        leaving = after_staging(guests, staging, plan.links)
        begins_s = switch_s if switch_s is not None else staging.ready_s
        left_s = max(0.0, deadline_s - begins_s)
    choice = choose(leaving, plan.links, plan.concurrency, left_s, order)
    worst = {name: replace(each, costs=each.costs.pessimistic()) for name, each in leaving.items()}
    badly = timetable(choice.chosen.policy, worst, plan.links)
    return Outline(
        leaving, choice, outlooks(choice.chosen, badly, leaving, plan.links, left_s), left_s, staging
    )
