"""Several modes side by side: order alternated, every run one result file, medians at the end."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import PagethriftError, UsageError
from pagethrift.lab.namespaces import require_rights
from pagethrift.lab.run import Event, Show, run
from pagethrift.lab.run_result import RunResult
from pagethrift.lab.scenario import ModeSpec, Scenario


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to do."""

    mode: ModeSpec
    repetition: int
    check_ram: bool

    def path(self, folder: Path, scenario: str) -> Path:
        """Return where its result goes."""
        kind = "ram-check" if self.check_ram else f"{self.repetition:02d}"
        name = self.mode.name.replace(":", "-").replace("=", "").replace(",", "-")
        return folder / f"{scenario}.{name}.{kind}.json"


def plan(scenario: Scenario) -> list[Planned]:
    """Return the runs in order: modes alternate, every second repetition backwards."""
    runs = []
    for repetition in range(scenario.repetitions):
        order = scenario.modes if repetition % 2 == 0 else scenario.modes[::-1]
        runs += [Planned(mode, repetition, False) for mode in order]
    return runs + [Planned(mode, 0, True) for mode in scenario.check_ram]


def compare(scenario: Scenario, folder: Path, show: Show) -> list[RunResult]:
    """Do all runs of a scenario that have no result file in ``folder`` yet; return all results.

    A run that fails is shown and left out, so that a later call tries it again; raises the
    last failure when nothing succeeded, and LabError before anything when this user may run nothing.
    """
    runs = plan(scenario)
    if not all(planned.path(folder, scenario.name).exists() for planned in runs):
        require_rights()
    folder.mkdir(parents=True, exist_ok=True)
    results: list[RunResult] = []
    failure: PagethriftError | None = None
    for number, planned in enumerate(runs, 1):
        path = planned.path(folder, scenario.name)
        what = f"{number}/{len(runs)} {planned.mode.name}{' (RAM compared)' if planned.check_ram else ''}"
        if path.exists():
            show(Event("kept", what))
            results.append(_kept(path, scenario))
            continue
        show(Event("run", what))
        try:
            result = run(scenario, planned.mode, planned.repetition, planned.check_ram, show)
        except PagethriftError as error:
            show(Event("failed", f"{what}: {error}"))
            failure = error
            continue
        result.write(path)
        results.append(result)
    if failure and not results:
        raise failure
    return results


def _kept(path: Path, scenario: Scenario) -> RunResult:
    result = RunResult.read(path)
    if result.migration.bandwidth_bps != scenario.link.bandwidth_bps:
        raise UsageError(f"{path} is of another bandwidth; choose another folder")
    return result


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of the timed runs of one mode; times in seconds, sizes in bytes."""

    mode: str
    runs: int
    converged: int
    """runs that switched over without being forced"""
    forced_at_s: float | None
    total_time_s: float
    downtime_s: float | None
    blackout_s: float | None
    transferred_bytes: float
    first_round_bytes: float
    retransferred_bytes: float
    relay_cpu_s: float | None
    relay_peak_rss_bytes: float | None
    one_pass_bound_s: float | None
    ratio: float | None
    lost_requests: int
    operations_per_s: float
    """client throughput during the migration"""


def rows(results: Iterable[RunResult]) -> list[Row]:
    """Summarise timed runs by mode, in order of first appearance."""
    by_mode: dict[str, list[RunResult]] = {}
    for result in results:
        if result.ram is None:
            by_mode.setdefault(result.mode, []).append(result)
    return [_row(mode, group) for mode, group in by_mode.items()]


def _row(mode: str, group: list[RunResult]) -> Row:
    migrations = [result.migration for result in group]
    during = [p["operations_per_s"] for r in group for p in r.client["phases"] if p["name"] == "during"]
    return Row(
        mode=mode,
        runs=len(group),
        converged=sum(m.converged for m in migrations),
        forced_at_s=_median(m.forced_at_s for m in migrations),
        total_time_s=statistics.median(m.total_time_s for m in migrations),
        downtime_s=_median(m.downtime_s for m in migrations),
        blackout_s=_median(m.blackout_s for m in migrations),
        transferred_bytes=statistics.median(m.transferred_bytes for m in migrations),
        first_round_bytes=statistics.median(m.first_round_bytes for m in migrations),
        retransferred_bytes=statistics.median(m.retransferred_bytes for m in migrations),
        relay_cpu_s=_median(m.relay_cpu_s for m in migrations),
        relay_peak_rss_bytes=_median(m.relay_peak_rss_bytes for m in migrations),
        one_pass_bound_s=_median(m.one_pass_bound_s for m in migrations),
        ratio=_median(m.ratio for m in migrations),
        lost_requests=sum(result.lost_requests for result in group),
        operations_per_s=statistics.median(during),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
