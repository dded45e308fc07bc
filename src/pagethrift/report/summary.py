"""Runs of a scenario summarised by mode, for terminal, Markdown and page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pagethrift.model.result import Mode
from pagethrift.report.estimate import Estimate, estimate
from pagethrift.report.measures import MEASURES, Measure, further, interval
from pagethrift.report.runs import Run
from pagethrift.units import format_bandwidth, format_bytes, format_seconds


@dataclass(frozen=True, slots=True)
class Row:
    """The summary of one mode."""

    mode: str
    relayed: bool
    strategy: str
    runs: int
    """timed runs, without those that only compared RAM"""
    failed: int
    """timed runs that did not complete; they are in no median"""
    converged: int
    """timed runs that switched over without being forced"""
    forced_at_s: float | None
    """median"""
    estimates: Mapping[str, Estimate | None]
    """measure's key -> its estimate, forced runs included"""
    lost_requests: int | None
    """lost requests of all timed runs; None without a client"""
    ram_compared_bytes: int
    """largest amount of RAM compared after a migration; 0 = not compared"""
    ram_differing_pages: int

    def show(self, measure: Measure) -> str:
        """Return one measure's median with its interval."""
        return interval(self.estimates.get(measure.key), measure.show)

    def show_median(self, measure: Measure) -> str:
        """Return one measure's median alone."""
        found = self.estimates.get(measure.key)
        return "-" if found is None else measure.show(found.median)

    @property
    def convergence(self) -> str:
        """``yes``, ``no (forced at 50.0 s)`` or ``3 of 5``; failed runs are named."""
        completed = self.runs - self.failed
        forced = "forced" if self.forced_at_s is None else f"forced at {format_seconds(self.forced_at_s)}"
        if self.runs == 0:
            words = "-"
        elif completed == 0:
            words = "no"
        elif self.converged == completed:
            words = "yes"
        else:
            words = f"no ({forced})" if not self.converged else f"{self.converged} of {completed} ({forced})"
        return f"{words}, {self.failed} failed" if self.failed else words

    @property
    def ram(self) -> str:
        """The result of comparing all RAM."""
        if not self.ram_compared_bytes:
            return "not compared"
        return f"{self.ram_differing_pages} pages differ of {format_bytes(self.ram_compared_bytes)}"

    @property
    def lost(self) -> str:
        """Lost requests as a cell."""
        return "-" if self.lost_requests is None else str(self.lost_requests)


def by_scenario(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs by scenario, in order of first appearance; several links divide a scenario."""
    every = list(runs)
    links: dict[str, set[float | None]] = {}
    for run in every:
        links.setdefault(run.scenario, set()).add(run.migration.bandwidth_bps)
    scenarios: dict[str, list[Run]] = {}
    for run in every:
        rate_bps = run.migration.bandwidth_bps
        link = f", {format_bandwidth(rate_bps) if rate_bps else 'not shaped'}"
        scenarios.setdefault(run.scenario + link * (len(links[run.scenario]) > 1), []).append(run)
    return scenarios


def by_mode(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs of one scenario by mode: QEMU's own modes first, others in order of first appearance."""
    modes: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.migration.mode is not Mode.PLAIN):
        modes.setdefault(run.mode, []).append(run)
    return modes


def rows(runs: Iterable[Run]) -> list[Row]:
    """Summarise the runs of one scenario."""
    return [_row(mode, group) for mode, group in by_mode(runs).items()]


def timed(runs: Iterable[Run]) -> list[Run]:
    """Return the runs whose measures count: not those that compared RAM, which left their guest paused."""
    return [run for run in runs if run.ram is None]


def further_measures(runs: Iterable[Run]) -> list[Measure]:
    """Return the optional measures that any run has, by name."""
    return [further(name) for name in sorted({name for run in runs for name in run.further})]


def as_json(row: Row) -> dict[str, Any]:
    """Return a row for programs."""
    estimates = {
        key: None if found is None else {
            "median": found.median, "low": found.low, "high": found.high,
            "runs": found.runs, "spread": found.spread.value,
        }
        for key, found in row.estimates.items()
    }  # fmt: skip
    return {
        "mode": row.mode,
        "relayed": row.relayed,
        "strategy": row.strategy,
        "runs": row.runs,
        "failed": row.failed,
        "converged": row.converged,
        "forced_at_s": row.forced_at_s,
        "lost_requests": row.lost_requests,
        "ram_compared_bytes": row.ram_compared_bytes,
        "ram_differing_pages": row.ram_differing_pages,
        "measures": estimates,
    }


def _row(mode: str, group: list[Run]) -> Row:
    measured = timed(group)
    completed = [run for run in measured if run.completed]
    forced = estimate(run.migration.forced_at_s for run in completed)
    lost = [run.lost_requests for run in measured if run.lost_requests is not None]
    checked = [run.ram for run in group if run.ram is not None]
    return Row(
        mode=mode,
        relayed=group[0].migration.mode is Mode.RELAY,
        strategy=group[0].migration.strategy,
        runs=len(measured),
        failed=len(measured) - len(completed),
        converged=sum(run.migration.converged for run in completed),
        forced_at_s=None if forced is None else forced.median,
        estimates={
            measure.key: estimate(measure.of(run) for run in completed)
            for measure in (*MEASURES, *further_measures(group))
        },
        lost_requests=sum(lost) if lost else None,
        ram_compared_bytes=max((ram.compared_bytes for ram in checked), default=0),
        ram_differing_pages=sum(ram.differing_pages for ram in checked),
    )
