"""``python -m scripts.studies.probed RESULTS...``: what clients notice while a guest is watched.

RESULTS are folders or archives of lab runs with forecasts (the modes ``auto`` and ``MODE+forecast``). Before:
from the load's first half second on. Watched: while QEMU's dirty log was on. Simulated: after that, until the
migration begins. Rates are means, latencies medians over the client's intervals of 0.1 s; each is the median
over the runs of a scenario.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from scripts.studies.rows import line

from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find

FIRST_S = 0.5
PARTS = ("before", "watched", "simulated")
HEADINGS = (
    "guest", "runs", *(f"{what} {part}" for what in ("answers/s,", "p50 ms,", "p99 ms,") for part in PARTS),
)  # fmt: skip


def windows(result: RunResult) -> dict[str, tuple[float, float]] | None:
    """Return the begin and end of each part on the client's clock; None for a run without a forecast."""
    forecast, client = result.migration.forecast, result.client
    if forecast is None or not client or not forecast.cost.logged_s:
        return None
    ahead_s = client["began_s"] - client["began_unix_s"]
    watched_s = forecast.recorded_unix_s + ahead_s
    simulated_s = watched_s + forecast.cost.logged_s
    moved_s = result.migration.began_unix_s + ahead_s
    edges = (client["began_s"] + FIRST_S, watched_s, simulated_s, moved_s)
    return dict(zip(PARTS, pairwise(edges), strict=True))


def seen(series: Mapping[str, Any], window: tuple[float, float]) -> tuple[float, float, float] | None:
    """Return answers a second, and the medians of p50 and p99 in ms; None where the window has no answer."""
    first, last = (round((at_s - series["began_s"]) / series["interval_s"]) for at_s in window)
    counts = series["operations"][first:last]
    p50, p99 = (
        [each for each in series[name][first:last] if each is not None] for name in ("p50_ms", "p99_ms")
    )
    if not p50:
        return None
    rate = sum(counts) / (len(counts) * series["interval_s"])
    return rate, statistics.median(p50), statistics.median(p99)


def table(results: Iterable[RunResult]) -> list[Sequence[str]]:
    """Return a row for each scenario."""
    found: dict[str, list[list[tuple[float, float, float]]]] = defaultdict(list)
    for result in results:
        parts = windows(result)
        if parts is None:
            continue
        looks = [seen(result.client["series"], window) for window in parts.values()]
        if all(looks):
            found[result.scenario].append([look for look in looks if look])
    rows: list[Sequence[str]] = []
    for scenario, runs in sorted(found.items()):
        cells = [scenario, str(len(runs))]
        for what, form in ((0, ".0f"), (1, ".1f"), (2, ".1f")):
            for part in range(len(PARTS)):
                cells.append(f"{statistics.median(run[part][what] for run in runs):{form}}")
        rows.append(cells)
    return rows


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.probed", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS")
    chosen = parser.parse_args(arguments)
    results = [each.result for each in find(chosen.results) if isinstance(each.result, RunResult)]
    print("\n".join(map(line, (HEADINGS, ["---"] * len(HEADINGS), *table(results)))))


if __name__ == "__main__":
    main(sys.argv[1:])
