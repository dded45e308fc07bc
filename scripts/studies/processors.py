"""``python -m scripts.studies.processors RESULTS``: CPU seconds of each run's processes, beside what it took.

``RESULTS`` is an archive or a folder of lab results; runs with RAM compared stay out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.studies.rows import line

from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.units import format_bytes, format_seconds

COLUMNS = {
    "vCPU": ("vcpu",),
    "main, other": ("main", "other"),
    "migration thread": ("migration",),
    "relay": ("relay",),
    "tunnel or delay": ("tunnel", "delay"),
    "destination": ("destination",),
}
"""heading -> names in ``cpu_s``, added up"""


def markdown(runs: Iterable[RunResult]) -> str:
    """Return the table, CPU in seconds."""
    headings = ["scenario", "mode", "total time", "downtime", "on the link", *COLUMNS]
    lines = [line(headings), line(["---"] * len(headings)), *(line(_cells(run)) for run in runs)]
    return "\n".join(lines) + "\n"


def _cells(run: RunResult) -> list[str]:
    migration = run.migration
    forced = "" if migration.converged else ", forced"
    return [
        f"`{run.scenario}`",
        run.mode,
        format_seconds(migration.total_time_s) + forced,
        "-" if migration.downtime_s is None else f"{migration.downtime_s * 1000:.0f} ms",
        format_bytes(migration.transferred_bytes),
        *(_sum(run, names) for names in COLUMNS.values()),
    ]


def _sum(run: RunResult, names: Iterable[str]) -> str:
    found = [run.cpu_s[name] for name in names if run.cpu_s and name in run.cpu_s]
    return f"{sum(found):.2f}" if found else ""


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.processors", description=__doc__)
    parser.add_argument("results", type=Path, metavar="RESULTS")
    every = (found.result for found in find([parser.parse_args(arguments).results]))
    runs = [run for run in every if isinstance(run, RunResult) and run.ram is None]
    order = list(dict.fromkeys(run.scenario for run in runs))
    # without the relay first, as in all tables
    runs.sort(key=lambda run: (order.index(run.scenario), run.mode != "plain"))
    sys.stdout.write(markdown(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
