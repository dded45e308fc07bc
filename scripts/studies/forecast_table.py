"""``python -m scripts.studies.forecast_table``: how far simulations are from live runs, what a relay costs.

It writes ``src/pagethrift/forecast/measured.json``, by which `pagethrift forecast` corrects and widens its
intervals. Simulator against live: the files of ``scripts.studies.faithful``. A relay's cost: the archives
LATELY of live runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scripts.bench import output

from pagethrift.model.pages import F64, PAGE_BYTES
from pagethrift.model.result import MigrationResult, Mode, Outcome
from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find

FAITHFUL = (
    "faithful.json", "faithful-channels.json", "faithful-comparison.json", "faithful-forecast.json",
)  # fmt: skip
TARGET = Path("src/pagethrift/forecast/measured.json")
QUANTILES = np.arange(0.05, 1.0, 0.1)
"""of each family's samples: the ends are those of a 90 % interval, for one more that is not among them"""
ROW_BYTES = 131
"""of the ledger and its states for a page of 4096 bytes that is not zero (docs/performance.md, Memory)"""
STARTS_S = tuple(number / 100 for number in range(31))
"""while connections and compressors begin, and QEMU ends, the link carries little: not longer than so"""
LATELY = (
    "channels.parquet",
    "comparison.parquet",
    "literature.parquet",
    "slow-link.parquet",
    "thesis.parquet",
)
"""studies whose relays were like today's, on shaped links, where no RAM was compared"""


def family(mode: str, channels: int) -> str:
    """Return which modes count together: those that err alike."""
    name = mode.partition(":")[0].partition("+")[0]
    if name == "pagethrift":
        return "channels" if channels else "thin"
    return name if name in ("plain", "xbzrle", "auto-converge", "post-copy") else "relay"


def errors(groups: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each family live / simulated of total time and data, live - simulated of the downtime.

    ``start_s``: what a live migration takes beside everything that is simulated, taken off its total time
    first. It is fitted: with it the ratios of a family are closest to each other.
    The smallest, the median and the largest live run of a group count one sample each. A group counts where
    live and simulated both converged in all runs; ``agreed`` counts the groups where most live runs and the
    simulation agree about converging.
    """
    found: dict[str, dict[str, Any]] = {}
    seen = set()
    for group in groups:
        key = (group["scenario"], group["mode"], group["bandwidth_bps"], group.get("channels"))
        if key in seen:
            continue
        seen.add(key)
        row = found.setdefault(
            family(group["mode"], group.get("channels") or 0),
            {"groups": 0, "agreed": 0, "start_s": 0.0, "total_time": [], "data": [], "downtime_s": []},
        )
        row["groups"] += 1
        row["agreed"] += (2 * group["live_converged"] > group["runs"]) == group["simulated_converged"]
        if group["live_converged"] < group["runs"] or not group["simulated_converged"]:
            continue
        simulated, live = group["simulated"], _three(group)
        row["total_time"] += [(each["total_time_s"], simulated["total_time_s"]) for each in live]
        row["data"] += [_data(each) / _data(simulated) for each in live]
        row["downtime_s"] += [each["downtime_s"] - simulated["downtime_s"] for each in live]
    for row in found.values():
        live_s, simulated_s = np.array(row["total_time"]).T
        row["start_s"] = _start_s(live_s, simulated_s)
        row["total_time"] = (live_s - row["start_s"]) / simulated_s
        for name in ("total_time", "data", "downtime_s"):
            row[name] = [
                round(float(each), 4) for each in np.quantile(row[name], QUANTILES, method="weibull")
            ]
    return dict(sorted(found.items()))


def _start_s(live_s: F64, simulated_s: F64) -> float:
    """Return the seconds of STARTS_S with which live / simulated vary least about their median."""

    def spread(start_s: float) -> float:
        ratio = np.log((live_s - start_s) / simulated_s)
        return float(np.abs(ratio - np.median(ratio)).mean())

    return min((each for each in STARTS_S if each < live_s.min()), key=spread)


def _three(group: Mapping[str, Any]) -> list[dict[str, float]]:
    low, high = ({name: ends[i] for name, ends in group["live_range"].items()} for i in (0, 1))
    return [low, group["live"], high]


def _data(each: Mapping[str, float]) -> float:
    return each["first_round_bytes"] + each["retransferred_bytes"]


def relay_cost(migrations: Sequence[MigrationResult]) -> dict[str, Any]:
    """Fit a relay's CPU seconds and peak memory; ``error`` are quantiles of measured / fitted."""
    taken = [
        each
        for each in migrations
        if each.mode is Mode.RELAY
        and each.outcome is Outcome.COMPLETED
        and each.relay_cpu_s
        and each.relay_peak_rss_bytes
        and each.one_pass_bound_s
        and each.bandwidth_bps
    ]
    cpu_s = np.array([each.relay_cpu_s for each in taken])
    compressed = np.array([each.pages.compressed for each in taken])
    content = np.array([each.pages.total - each.pages.zero for each in taken]) - compressed
    rss_bytes = np.array([each.relay_peak_rss_bytes for each in taken])
    rows_bytes = np.array([_nonzero_pages(each) for each in taken]) * ROW_BYTES
    channels = np.array([each.channels for each in taken])
    one = np.ones(len(taken))
    memory = _fit(rss_bytes, {"start": one, "channel": channels}, rows_bytes)
    return {
        "runs": len(taken),
        "cpu_s": _fit(cpu_s, {"start": one, "page": content, "compressed_page": compressed}),
        "peak_rss_bytes": {**memory, "used_page": ROW_BYTES},
    }


def _nonzero_pages(each: MigrationResult) -> float:
    return (each.one_pass_bound_s or 0.0) * (each.bandwidth_bps or 0.0) / PAGE_BYTES


def _fit(measured: F64, terms: Mapping[str, F64], known: F64 | float = 0.0) -> dict[str, Any]:
    """Return a factor for each term, none negative, by least squares of the relative error; add ``known``."""
    matrix = np.column_stack(list(terms.values()))
    factors, _ = nnls(matrix / measured[:, None], (measured - known) / measured)
    error = np.quantile(measured / (matrix @ factors + known), QUANTILES)
    fitted = {name: float(f"{value:.4g}") for name, value in zip(terms, factors, strict=True)}
    return {**fitted, "error": [round(float(each), 4) for each in error]}


def table(results: Path) -> dict[str, Any]:
    """Return the whole table from a folder of results."""
    groups = [each for name in FAITHFUL for each in json.loads((results / name).read_text())["groups"]]
    archives = [results / name for name in LATELY]
    migrations = [each.result.migration for each in find(archives) if isinstance(each.result, RunResult)]
    return {
        "command": "python -m scripts.studies.forecast_table",
        "simulator": errors(groups),
        "simulator_source": [f"docs/results/{name}" for name in FAITHFUL],
        "relay": relay_cost(migrations),
        "relay_source": [f"docs/results/{name}" for name in LATELY],
    }


def main(arguments: list[str]) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.forecast_table", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("docs/results"), metavar="DIR")
    parser.add_argument("--out", type=Path, default=TARGET, metavar="FILE.json")
    chosen = parser.parse_args(arguments)
    output.write_json(chosen.out, table(chosen.results))


if __name__ == "__main__":
    main(sys.argv[1:])
