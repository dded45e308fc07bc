"""``python -m scripts.studies.scaling SPEC.toml``: a sweep's time by workers, and speed on one core."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bench import machine, output

from pagethrift.model.result import MigrationResult
from pagethrift.simulator.sweep import run_sweep
from pagethrift.simulator.sweep_spec import Cell, read_spec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import Trace, read_trace


def sweep_seconds(cells: list[Cell], workers: int) -> float:
    """Return how long a sweep takes on so many worker processes, their start included."""
    with tempfile.TemporaryDirectory(prefix="pts-") as folder:
        began_s = time.perf_counter()
        run_sweep(cells, Path(folder), workers=workers)
        return time.perf_counter() - began_s


def page_events(trace: Trace, result: MigrationResult) -> int:
    """Return writes played and pages looked at by the relay.

    The guest writes until it stops; a throttled guest writes less than is counted here.
    """
    until_s = result.total_time_s - (result.downtime_s or 0.0)
    loops, rest_s = divmod(until_s, trace.duration_s)
    writes = int(loops) * len(trace.writes) + int(np.searchsorted(trace.writes.time_s, rest_s))
    return writes + result.pages.total


def cell_speed(cell: Cell, repeats: int) -> dict[str, Any]:
    """Return one cell's events a second, the median of ``repeats`` runs after one to warm up."""
    trace = read_trace(Path(cell.trace), cell.seed).faster(cell.speed)
    taken_s = []
    for _ in range(repeats + 1):
        row = strategy(cell.strategy, cell.stop, **dict(cell.parameters))
        began_s = time.perf_counter()
        result = simulate(trace, row, cell.options)
        taken_s.append(time.perf_counter() - began_s)
    seconds, events = statistics.median(taken_s[1:]), page_events(trace, result)
    return {
        "trace": Path(cell.trace).name,
        "strategy": cell.strategy,
        "bandwidth_bps": cell.bandwidth_bps,
        "page_events": events,
        "seconds": seconds,
        "page_events_per_s": events / seconds,
    }


def study(cells: list[Cell], workers: list[int], repeats: int) -> dict[str, Any]:
    """Return the times of the sweep, worker counts in turn, and the speed of every cell."""
    seconds: dict[int, list[float]] = {count: [] for count in workers}
    for _ in range(repeats):
        for count in workers:
            seconds[count].append(sweep_seconds(cells, count))
    speeds = [cell_speed(cell, repeats) for cell in cells]
    rates = [each["page_events_per_s"] for each in speeds]
    return {
        "cells": len(cells),
        "sweep_seconds": {str(count): times for count, times in seconds.items()},
        "page_events_per_s": {"median": statistics.median(rates), "min": min(rates), "max": max(rates)},
        "speeds": speeds,
    }


def main(arguments: list[str]) -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.scaling", description=__doc__)
    parser.add_argument("spec", type=Path, metavar="SPEC.toml", help="a sweep, e.g. studies/scaling.toml")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/sweep-scaling.json")
    chosen = parser.parse_args(arguments)
    found = study(read_spec(chosen.spec), chosen.workers, chosen.repeats)
    for count, times in found["sweep_seconds"].items():
        print(f"{count} workers: {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})")
    rate = found["page_events_per_s"]
    print(
        f"one core: {rate['median'] / 1e6:.1f} million page events a second"
        f" ({rate['min'] / 1e6:.1f} to {rate['max'] / 1e6:.1f} over {found['cells']} cells)"
    )
    if chosen.out:
        command = f"python -m scripts.studies.scaling {' '.join(arguments)}"
        facts = {"command": command, "machine": machine.facts(), "load": machine.load()}
        output.write_json(chosen.out, {**facts, **found})


if __name__ == "__main__":
    main(sys.argv[1:])
