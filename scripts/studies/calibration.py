"""``python -m scripts.studies.calibration RESULTS...``: forecasts against the live migrations that followed.

RESULTS are folders or archives of result files with forecasts (``pagethrift migrate --auto`` or
``--forecast``). Regret: within a scenario, link and limit, the total time of the mode that a forecast
recommended over that of the best mode in hindsight, both medians of live runs. Best in hindsight is the
shortest of the modes whose runs all converged and whose median downtime kept the limit; if none did, of those
that converged.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench import output
from scripts.studies.rows import line

from pagethrift.report.calibration import HEADINGS, calibrations, convergence, forecast_of, is_of, table
from pagethrift.report.load import load
from pagethrift.report.runs import Run
from pagethrift.units import format_bandwidth, format_seconds

WANTED_COVERAGE = (0.85, 0.97)
"""a coverage within counts as right: 90 % intervals"""


@dataclass(frozen=True, slots=True)
class Regret:
    """What following a forecast cost in one group of runs."""

    group: str
    recommended: str
    """empty: none"""
    recommended_s: float | None
    """median total time; None if nobody ran that mode"""
    best: str
    best_s: float | None
    """None if no mode converged"""

    @property
    def share(self) -> float | None:
        """How much longer than the best."""
        if self.recommended_s is None or self.best_s is None:
            return None
        return self.recommended_s / self.best_s - 1


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return runs that can be compared: of one scenario, guest, link and limit."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        forecast = run.migration.forecast
        if forecast is None:
            continue
        name = (
            f"{run.scenario}, {forecast.guest}, {format_bandwidth(forecast.bandwidth_bps)},"
            f" {format_seconds(run.migration.downtime_limit_s)}"
        )
        found[name].append(run)
    return dict(found)


def regrets(runs: Sequence[Run]) -> list[Regret]:
    """Return the regret of each recommendation; a group counts once for each mode that was recommended."""
    found = []
    for name, group in groups(runs).items():
        modes = _by_mode(group)
        best, best_s = _best(modes)
        said = {run.migration.forecast.recommendation.name for run in group if run.migration.forecast}
        for recommended in sorted(said):
            runs_of = modes.get(recommended, [])
            found.append(Regret(name, recommended, _total_s(runs_of) if runs_of else None, best, best_s))
    return found


def _by_mode(group: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the completed runs of each mode, by the forecasts' names."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in group:
        mode = forecast_of(run.migration)
        if mode is not None and run.completed and is_of(mode, run.migration):
            found[mode.name].append(run)
    return found


def _best(modes: Mapping[str, Sequence[Run]]) -> tuple[str, float | None]:
    ended = {name: runs for name, runs in modes.items() if all(run.migration.converged for run in runs)}
    kept = {name: runs for name, runs in ended.items() if _keeps(runs)}
    totals = {name: _total_s(runs) for name, runs in (kept or ended).items()}
    if not totals:
        return "", None
    name = min(totals, key=lambda each: totals[each])
    return name, totals[name]


def _keeps(runs: Sequence[Run]) -> bool:
    downtimes_s = [run.migration.downtime_s for run in runs if run.migration.downtime_s is not None]
    limit_s = runs[0].migration.downtime_limit_s
    return bool(downtimes_s) and statistics.median(downtimes_s) <= limit_s


def _total_s(runs: Sequence[Run]) -> float:
    return statistics.median(run.migration.total_time_s for run in runs)


def markdown(runs: Sequence[Run]) -> str:
    """Return the calibration and the regrets as tables."""
    lines = [line(HEADINGS), line(["---"] * len(HEADINGS)), *map(line, table(runs)), ""]
    found = convergence(runs)
    if found.runs:
        lines += [f"Converges or not: right in {found.share_right:.1%} of {found.runs} runs.", ""]
    low, high = WANTED_COVERAGE
    for each in calibrations(runs):
        judged = "within" if low <= each.coverage <= high else "outside"
        lines.append(f"* {each.name}: coverage {each.coverage:.1%}, {judged} {low:.0%} to {high:.0%}")
    headings = ("group", "recommended", "TT", "best in hindsight", "TT", "regret")
    lines += ["", line(headings), line(["---"] * len(headings))]
    every = regrets(runs)
    lines += [line(_cells(each)) for each in every]
    shares = [each.share for each in every if each.share is not None]
    if shares:
        lines += ["", f"Regret: {statistics.median(shares):.1%} at the median, {max(shares):.1%} at worst."]
    return "\n".join(lines) + "\n"


def _cells(each: Regret) -> list[str]:
    return [
        each.group, each.recommended or "none", _seconds(each.recommended_s), each.best or "none",
        _seconds(each.best_s), "-" if each.share is None else f"{each.share:.1%}",
    ]  # fmt: skip


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_seconds(value)


def main(arguments: list[str]) -> None:
    """Print the tables and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.calibration", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    chosen = parser.parse_args(arguments)
    runs = load(chosen.results).runs
    sys.stdout.write(markdown(runs))
    if chosen.out:
        found = convergence(runs)
        document = {
            "command": f"python -m scripts.studies.calibration {' '.join(arguments)}",
            "measures": [asdict(each) | {"coverage": each.coverage} for each in calibrations(runs)],
            "converges": asdict(found) | {"share_right": found.share_right if found.runs else None},
            "regrets": [asdict(each) | {"share": each.share} for each in regrets(runs)],
        }
        output.write_json(chosen.out, document)


if __name__ == "__main__":
    main(sys.argv[1:])
