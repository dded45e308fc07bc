"""``python -m scripts.studies.both_ends RESULTS...``: processor time and memory at both ends.

``RESULTS`` are archives or folders of lab results; runs with RAM compared stay out. Medians, (least to most).
At the source the migration's own threads and the relay count, not the guest's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.studies.rows import line

from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.units import format_bandwidth

SOURCE = ("migration", "multifd", "relay")
MIB = 1 << 20
COLUMNS: dict[str, Callable[[RunResult], float | None]] = {
    "TT, s": lambda run: run.migration.total_time_s,
    "downtime, ms": lambda run: 1000 * (run.migration.downtime_s or 0),
    "on the link, MB": lambda run: run.migration.transferred_bytes / 1e6,
    "CPU s, source": lambda run: _sum(run, SOURCE),
    "CPU s, destination": lambda run: _sum(run, ("destination",)),
    "relay, MiB": lambda run: _peak(run, "relay"),
    "source QEMU, MiB": lambda run: _peak(run, "source"),
    "destination QEMU, MiB": lambda run: _peak(run, "destination"),
}


def _sum(run: RunResult, names: Iterable[str]) -> float:
    return sum((run.cpu_s or {}).get(name, 0.0) for name in names)


def _peak(run: RunResult, name: str) -> float | None:
    found = (run.peak_rss_bytes or {}).get(name)
    return None if found is None else found / MIB


def markdown(runs: Iterable[RunResult]) -> str:
    """Return the table."""
    groups: dict[tuple[str, float, str], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.migration.bandwidth_bps or float("inf"), run.mode), []).append(
            run
        )
    headings = ["scenario", "link", "mode", "runs", *COLUMNS]
    lines = [line(headings), line(["---"] * len(headings))]
    for (scenario, bps, mode), found in sorted(groups.items()):
        link = "unshaped" if bps == float("inf") else format_bandwidth(bps)
        cells = (
            _spread([value for run in found if (value := of(run)) is not None]) for of in COLUMNS.values()
        )
        lines.append(line([f"`{scenario}`", link, f"`{mode}`", str(len(found)), *cells]))
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    digits = 2 if statistics.median(values) < 20 else 0
    low, middle, high = (
        f"{each:.{digits}f}" for each in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.both_ends", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS")
    every = (found.result for found in find(parser.parse_args(arguments).results))
    sys.stdout.write(markdown(run for run in every if isinstance(run, RunResult) and run.ram is None))


if __name__ == "__main__":
    main(sys.argv[1:])
