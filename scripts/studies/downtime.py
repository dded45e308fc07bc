"""``python -m scripts.studies.downtime RESULTS...``: how often the downtime limit was kept.

A row a mode and scenario, of runs that completed. The prediction's error is downtime minus prediction.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.studies.rows import line

from pagethrift.model.result import Outcome
from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find

HEAD = ("mode", "scenario", "kept", "runs", "downtime, ms", "error of the prediction, ms")


def markdown(results: Iterable[RunResult]) -> str:
    """Return the table, with a line for all scenarios of each mode."""
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for each in results:
        if each.migration.outcome is Outcome.COMPLETED and each.migration.downtime_s is not None:
            groups.setdefault((each.mode, each.scenario), []).append(each)
            groups.setdefault((each.mode, "all"), []).append(each)
    lines = [line(HEAD), line(["---"] * len(HEAD))]
    for (mode, scenario), runs in sorted(groups.items()):
        lines.append(line([f"`{mode}`", scenario, *_cells(runs)]))
    return "\n".join(lines) + "\n"


def _cells(runs: list[RunResult]) -> list[str]:
    found = [each.migration for each in runs]
    kept = sum((each.downtime_s or 0.0) <= each.downtime_limit_s for each in found)
    errors = [
        (each.downtime_s or 0.0) - each.predicted_downtime_s
        for each in found
        if each.predicted_downtime_s is not None
    ]
    return [str(kept), str(len(found)), _spread([each.downtime_s or 0.0 for each in found]), _spread(errors)]


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    low, middle, high = (1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.downtime", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="files or folders")
    found = (each.result for each in find(parser.parse_args(arguments).results))
    sys.stdout.write(markdown(each for each in found if isinstance(each, RunResult)))


if __name__ == "__main__":
    main(sys.argv[1:])
