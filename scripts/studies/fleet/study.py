"""The study: every part of every draw is a task on Dask; ranges over the draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scripts.studies.fleet.drain import Drained, Limits, drain
from scripts.studies.fleet.population import Population, draw, guests
from scripts.studies.fleet.spec import Spec
from scripts.studies.fleet.table import STRATEGIES, TraceFacts, load

from pagethrift.errors import UsageError
from pagethrift.model.pages import F64
from pagethrift.simulator.workers import at_work, finished


@dataclass(frozen=True, slots=True)
class Part:
    """One task: a group of hosts of one draw."""

    spec: Spec
    traces: tuple[TraceFacts, ...]
    results: str
    """of the table's sweep"""
    draw: int
    number: int
    guests: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What one group's drain, or those of a whole draw, took."""

    guests: int
    forced: int
    over_guests: int
    """stopped for longer than the limit, forced ones included"""
    over_s: float
    """seconds beyond the limit, of all guests"""
    own_over_s: float
    """the same of those that converged"""
    sent_bytes: float
    hosts_s: tuple[float, ...]
    """from a host's first migration to its last"""
    windows_s: tuple[float, ...]
    """until all hosts of each group were empty"""

    def __add__(self, other: Sums) -> Sums:
        """Return what both took."""
        return Sums(
            self.guests + other.guests, self.forced + other.forced, self.over_guests + other.over_guests,
            self.over_s + other.over_s, self.own_over_s + other.own_over_s,
            self.sent_bytes + other.sent_bytes,
            self.hosts_s + other.hosts_s, self.windows_s + other.windows_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of a part."""

    memory_bytes: float
    used_bytes: float
    dirty_bps: tuple[float, ...]
    """at each of QUANTILES over the guests"""
    sums: tuple[Sums, ...]
    """in the order of ``scenarios``"""


QUANTILES = (0.5, 0.9, 0.99)


def scenarios(spec: Spec) -> list[tuple[int, int, int]]:
    """Return every (link, manager, strategy) by its number."""
    return list(itertools.product(range(len(spec.links)), range(len(spec.managers)), range(len(STRATEGIES))))


def parts(
    spec: Spec, traces: tuple[TraceFacts, ...], results: str, guests: int, draws: int
) -> Iterator[Part]:
    """Return the tasks; every guest of every draw is in one of them."""
    for number in range(draws):
        for part, first in enumerate(range(0, guests, spec.group)):
            yield Part(spec, traces, results, number, part, min(spec.group, guests - first))


def run_part(part: Part) -> Taken:
    """Draw the guests of a part and empty their hosts in every scenario; needs nothing but its argument."""
    spec = part.spec
    table = load(part.results, spec, part.traces)
    population = draw(spec, part.traces, part.draw, part.number, part.guests)
    migrations = np.array(spec.migrations, np.int64)
    sums = []
    for link, number, strategy in scenarios(spec):
        manager = spec.managers[number]
        found = guests(population, spec, table, link, strategy, manager)
        limits = Limits(manager.a_host, manager.a_group, spec.hosts_at_once, manager.stall)
        sums.append(summed(population, drain(found, migrations, limits), spec.downtime_limit_s))
    return Taken(
        float(population.memory_gib.sum() * (1 << 30)),
        float(population.used_bytes.sum()),
        tuple(float(value) for value in np.quantile(population.dirty_bps, QUANTILES)),
        tuple(sums),
    )


def summed(population: Population, drained: Drained, limit_s: float) -> Sums:
    """Return what a group's drain took in all."""
    over_s = np.maximum(0.0, drained.downtime_s - limit_s)
    hosts = int(population.host[-1]) + 1
    first_s, last_s = np.full(hosts, np.inf), np.zeros(hosts)
    np.minimum.at(first_s, population.host, drained.begun_s)
    np.maximum.at(last_s, population.host, drained.ended_s)
    return Sums(
        guests=len(population.host),
        forced=int(drained.forced.sum()),
        over_guests=int((drained.forced | (over_s > 0)).sum()),
        over_s=float(over_s.sum()),
        own_over_s=float(over_s[~drained.forced].sum()),
        sent_bytes=float(drained.sent_bytes.sum()),
        hosts_s=tuple(float(value) for value in last_s - first_s),
        windows_s=(float(drained.ended_s.max()),),
    )


def run(
    tasks: list[Part],
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> dict[tuple[int, int], Taken]:
    """Carry the tasks out on Dask; return what each took by (draw, part). Raises UsageError.

    The result does not depend on the number of workers, the order of their work, or on workers that die.
    """
    taken: dict[tuple[int, int], Taken] = {}
    with at_work(scheduler, workers, len(tasks)) as client:
        named = {f"fleet-{task.draw}-{task.number}": task for task in tasks}
        for task, result, error in finished(client, run_part, named):
            if result is None:
                raise UsageError(f"part {task.number} of draw {task.draw} failed: {error}")
            taken[task.draw, task.number] = result
            progress(len(taken), len(tasks))
    return {key: taken[key] for key in sorted(taken)}


def ranges(spec: Spec, taken: dict[tuple[int, int], Taken]) -> dict[str, Any]:
    """Return the ranges over draws of each scenario: [least, median, most]."""
    draws = sorted({number for number, _ in taken})
    by_draw = {number: [each for (of, _), each in taken.items() if of == number] for number in draws}
    rows = []
    for place, (link, manager, strategy) in enumerate(scenarios(spec)):
        whole = []
        for number in draws:
            first, *rest = (each.sums[place] for each in by_draw[number])
            whole.append(sum(rest, start=first))
        rows.append(
            {
                "link": spec.links[link],
                "manager": spec.managers[manager].name,
                "strategy": STRATEGIES[strategy],
                "host_median_s": _range([float(np.median(each.hosts_s)) for each in whole]),
                "host_p95_s": _range([float(np.quantile(each.hosts_s, 0.95)) for each in whole]),
                "window_median_s": _range([float(np.median(each.windows_s)) for each in whole]),
                "window_s": _range([max(each.windows_s) for each in whole]),
                "sent_bytes": _range([each.sent_bytes for each in whole]),
                "over_guests": _range([each.over_guests for each in whole]),
                "over_s": _range([each.over_s for each in whole]),
                "own_over_s": _range([each.own_over_s for each in whole]),
                "forced": _range([each.forced for each in whole]),
                "guests": _range([each.guests for each in whole]),
            }
        )
    return {
        "memory_bytes": _range([sum(each.memory_bytes for each in by_draw[number]) for number in draws]),
        "used_bytes": _range([sum(each.used_bytes for each in by_draw[number]) for number in draws]),
        "hosts": _range([sum(len(each.sums[0].hosts_s) for each in by_draw[number]) for number in draws]),
        "dirty_bps": {
            f"{quantile:.0%}": _range(
                [float(np.median([each.dirty_bps[i] for each in by_draw[number]])) for number in draws]
            )
            for i, quantile in enumerate(QUANTILES)
        },
        "scenarios": rows,
    }


def _range(values: list[float] | list[int]) -> list[float]:
    array: F64 = np.array(values, np.float64)
    return [float(f"{value:.6g}") for value in (array.min(), np.median(array), array.max())]
