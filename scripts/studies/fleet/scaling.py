"""``python -m scripts.studies.fleet.scaling``: what the study takes on one worker and on two."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from scripts.bench import machine, output
from scripts.studies.fleet import table
from scripts.studies.fleet.__main__ import Told, add_common, tabulated
from scripts.studies.fleet.spec import read
from scripts.studies.fleet.study import parts, run
from scripts.studies.scaling import sweep_seconds

HALVES = ("table", "draws")


def main(arguments: list[str]) -> None:
    """Measure, print and write the JSON.

    Of the table a sample is simulated anew; the draws use the whole table, which is made before.
    """
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.fleet.scaling",
        description=__doc__,
        epilog="Example: python -m scripts.studies.fleet.scaling --out docs/results/fleet-scaling.json",
    )
    parser.add_argument("--guests", type=int, default=100_000, help="in each draw (default: 100000)")
    parser.add_argument("--draws", type=int, default=10, help="(default: 10)")
    parser.add_argument("--each", type=int, default=19, help="sample each so many cells (default: 19)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: 3)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/fleet-scaling.json")
    add_common(parser)
    chosen = parser.parse_args(arguments)
    spec = read(chosen.spec)
    traces = table.facts(spec, chosen.traces)
    results = tabulated(spec, traces, chosen.work, None, None)
    sample = list(dict.fromkeys(table.cells(spec, traces)))[:: chosen.each]
    tasks = list(parts(spec, traces, str(results), chosen.guests, chosen.draws))
    seconds: dict[str, dict[str, list[float]]] = {
        half: {str(count): [] for count in chosen.workers} for half in HALVES
    }
    first = None
    for _ in range(chosen.repeats):
        for count in chosen.workers:
            seconds["table"][str(count)].append(round(sweep_seconds(sample, count), 2))
            began_s = time.perf_counter()
            taken = run(tasks, None, count, Told(f"groups of hosts emptied by {count} workers"))
            seconds["draws"][str(count)].append(round(time.perf_counter() - began_s, 2))
            first = first or taken
            if taken != first:
                sys.exit(f"{parser.prog}: {count} workers gave another result than those before")
    for half, by_count in seconds.items():
        for text, times in by_count.items():
            spread = f"{statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
            print(f"{half}, {text} workers: {spread}")
    if chosen.out:
        document = {
            "command": " ".join([parser.prog, *arguments]),
            "machine": machine.facts(),
            "load": machine.load(),
            "cells": len(sample),
            "guests": chosen.guests,
            "draws": chosen.draws,
            "parts": len(tasks),
            "seconds": seconds,
        }
        output.write_json(chosen.out, document)


if __name__ == "__main__":
    main(sys.argv[1:])
