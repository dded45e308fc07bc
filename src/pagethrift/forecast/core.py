"""The forecast itself, without a clock, a file or a process: which migrations to simulate, and what follows.

`forecasting` is a generator: it yields migrations to be simulated, is sent what came of them, and returns the
forecast. Whoever drives it decides where they are simulated.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from pagethrift.forecast import curve
from pagethrift.forecast.candidates import NOT_SIMULATED, Candidate, candidates
from pagethrift.forecast.measured import LEAST_DOWNTIME_S, errors, relay_cost
from pagethrift.forecast.play import PAYLOAD_SHARE, ForecastSettings, Played, Task
from pagethrift.forecast.recommend import recommend
from pagethrift.model.forecast import Converges, Cost, Forecast, Interval, ModeForecast
from pagethrift.model.pages import F64, PAGE_BYTES
from pagethrift.trace.read import Trace

VALID_S = 600.0
"""ten minutes: a choice, not a measurement; loads change within that time or not at all soon"""
LEAST_HORIZON_S, HORIZON_PASSES = 60.0, 8
"""how long a migration may take: so many times as long as sending the used memory once"""
SURE, AGREES = 0.9, 0.9
"""share of simulations, and of comparisons with live runs, from which on an answer is certain"""
LIMITS = (2.0, 4.0, 8.0, 16.0)
"""multiples of the downtime limit that are tried where no mode converges"""
_GOLDEN = 0.6180339887498949
"""multiples of it spread bandwidths evenly, whatever their number"""

Steps: TypeAlias = Generator[list[Task], Sequence[Played], Forecast]
Pairs: TypeAlias = list[tuple[Task, Played]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose trace it is."""

    guest: str
    recorded_unix_s: float
    cost: Cost = field(default_factory=Cost)
    warnings: tuple[str, ...] = ()


def forecasting(trace: Trace, settings: ForecastSettings, subject: Subject) -> Steps:
    """Yield migrations to be simulated, take what came of them, return the forecast. Raises UsageError."""
    settings.check()
    used_bytes = int(np.count_nonzero(trace.content > 0)) * PAGE_BYTES
    one_pass_s = used_bytes / (settings.bandwidth_bps * PAYLOAD_SHARE)
    horizon_s = max(LEAST_HORIZON_S, HORIZON_PASSES * one_pass_s)
    modes = candidates(
        len(np.unique(trace.writes.page)), settings.channels, settings.relayed, settings.libvirt
    )
    tasks = [task for each in modes for task in _draws(each, trace.duration_s, settings, horizon_s)]
    pairs: Pairs = list(zip(tasks, (yield list(map(settings.under, tasks))), strict=True))
    found = [judged(each, [(task, one) for task, one in pairs if task.candidate is each]) for each in modes]
    needed_s = None
    if not any(each.converges is Converges.YES and not each.caution for each in found):
        likely = next((task for task in tasks if not task.candidate.caution), tasks[0])
        longer = [replace(likely, downtime_limit_s=settings.downtime_limit_s * times) for times in LIMITS]
        results = yield list(map(settings.under, longer))
        needed_s = next(
            (task.downtime_limit_s for task, one in zip(longer, results, strict=True) if one.converged), None
        )
    if settings.curve:
        found = yield from _curves(modes, found, tasks, settings)
    return Forecast(
        guest=subject.guest,
        recorded_unix_s=subject.recorded_unix_s,
        expires_unix_s=subject.recorded_unix_s + VALID_S,
        recorded_s=trace.duration_s,
        ram_bytes=trace.header.memory_bytes,
        used_bytes=used_bytes,
        bandwidth_bps=settings.bandwidth_bps,
        bandwidth_spread=settings.bandwidth_spread,
        downtime_limit_s=settings.downtime_limit_s,
        force_after_s=settings.force_after_s,
        libvirt=settings.libvirt,
        horizon_s=horizon_s,
        recommendation=recommend(found, settings.downtime_limit_s, needed_s),
        modes=tuple(found),
        cost=subject.cost,
        left_out=NOT_SIMULATED,
        warnings=subject.warnings,
    )


def _draws(
    candidate: Candidate, duration_s: float, settings: ForecastSettings, horizon_s: float
) -> list[Task]:
    """Return a mode's migrations: each begins elsewhere in the trace, on a link a little faster or slower."""
    found = []
    for number in range(candidate.draws):
        place = (number + 0.5) / candidate.draws
        aside = 2 * ((number + 1) * _GOLDEN % 1.0) - 1 if candidate.draws > 1 else 0.0
        found.append(
            Task(
                candidate=candidate,
                bandwidth_bps=settings.bandwidth_bps * (1 + settings.bandwidth_spread * aside),
                begin_s=place * duration_s,
                downtime_limit_s=settings.downtime_limit_s,
                give_up_s=horizon_s,
                force_after_s=settings.force_after_s,
            )
        )
    return found


def judged(candidate: Candidate, pairs: Pairs) -> ModeForecast:
    """Return what simulated migrations of one mode say."""
    ended = [one for _, one in pairs if one.completed]
    converged = sum(one.converged for _, one in pairs)
    wrong, cost = errors(candidate.family), relay_cost()
    mode = ModeForecast(
        name=candidate.name,
        options=candidate.options,
        plain=candidate.plain,
        strategy="qemu" if candidate.plain else candidate.row,
        parameters=candidate.result_parameters,
        features=candidate.result_features,
        channels=candidate.channels,
        simulated=len(pairs),
        converged=converged,
        converges=_answer(converged / len(pairs), wrong.agreed / wrong.groups),
        caution=candidate.caution,
    )
    if not ended:
        return mode
    by_itself = np.array([one.converged for one in ended])
    total_s = np.array([one.total_time_s for one in ended])
    # a forced migration ends when the operator said, live as simulated
    factors = np.where(by_itself[:, None], wrong.total_time[None, :], 1.0)
    start_s = np.where(by_itself, wrong.start_s, 0.0)[:, None]
    downtime_s = np.add.outer(np.array([one.downtime_s for one in ended]), wrong.downtime_s)
    mode = replace(
        mode,
        total_time_s=_interval(start_s + total_s[:, None] * factors),
        downtime_s=_interval(np.maximum(LEAST_DOWNTIME_S, downtime_s)),
        data_bytes=_interval(np.multiply.outer(np.array([one.data_bytes for one in ended]), wrong.data)),
    )
    if candidate.plain:
        return mode
    cpu_s = np.array([cost.cpu_s(one.content_pages, one.compressed_pages) for one in ended])
    memory = np.array([cost.peak_rss_bytes(one.used_pages, candidate.channels) for one in ended])
    return replace(
        mode,
        relay_cpu_s=_interval(np.multiply.outer(cpu_s, cost.cpu_error)),
        relay_peak_rss_bytes=_interval(np.multiply.outer(memory, cost.memory_error)),
    )


def _answer(share: float, agreed: float) -> Converges:
    if share >= SURE:
        return Converges.YES if agreed >= AGREES else Converges.PERHAPS
    return Converges.NO if 1 - share >= SURE else Converges.PERHAPS


def _interval(values: F64) -> Interval:
    """Return the 90 % interval: of n values the i-th stands for the share (i - 0.5) / n."""
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95), method="hazen")
    return Interval(float(low), float(median), float(high))


def _curves(
    modes: Sequence[Candidate], found: list[ModeForecast], tasks: list[Task], settings: ForecastSettings
) -> Generator[list[Task], Sequence[Played], list[ModeForecast]]:
    """Add the curve of each mode that stands in the plot."""
    middle = {each.name: [task for task in tasks if task.candidate is each] for each in modes if each.drawn}
    firsts = [each[len(each) // 2] for each in middle.values()]

    def on(task: Task, bandwidth_bps: float) -> Task:
        slower = settings.bandwidth_bps / bandwidth_bps
        return replace(
            task, bandwidth_bps=bandwidth_bps, force_after_s=None, give_up_s=task.give_up_s * max(1.0, slower)
        )

    tried = [on(task, settings.bandwidth_bps * factor) for task in firsts for factor in curve.FACTORS]
    pairs: Pairs = list(zip(tried, (yield list(map(settings.under, tried))), strict=True))

    def of(name: str) -> Pairs:
        return [(task, one) for task, one in pairs if task.candidate.name == name]

    for _ in range(curve.HALVINGS):
        wanted = [(task, curve.next_bandwidth(curve.points(of(task.candidate.name)))) for task in firsts]
        tried = [on(task, bandwidth_bps) for task, bandwidth_bps in wanted if bandwidth_bps]
        if tried:
            pairs += zip(tried, (yield list(map(settings.under, tried))), strict=True)
    curves = {name: curve.points(of(name)) for name in middle}
    return [
        replace(mode, curve=curves[mode.name], converges_from_bps=curve.converges_from(curves[mode.name]))
        if mode.name in curves
        else mode
        for mode in found
    ]
