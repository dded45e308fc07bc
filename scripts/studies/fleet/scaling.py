"""``python -m scripts.studies.fleet.scaling``: how long the draws take on one worker and on two."""

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


def main(arguments: list[str]) -> None:
    """Measure, print and write the JSON. The table is made first and not counted."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.fleet.scaling",
        description=__doc__,
        epilog="Example: python -m scripts.studies.fleet.scaling --out docs/results/fleet-scaling.json",
    )
    parser.add_argument("--guests", type=int, default=20_000)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2], help="numbers of workers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/fleet-scaling.json")
    add_common(parser)
    chosen = parser.parse_args(arguments)
    spec = read(chosen.spec)
    traces = table.facts(spec, chosen.traces)
    results = tabulated(spec, traces, chosen.work, None, None)
    tasks = list(parts(spec, traces, str(results), chosen.guests, chosen.draws))
    seconds: dict[int, list[float]] = {count: [] for count in chosen.counts}
    first = None
    for _ in range(chosen.repeats):
        for count in chosen.counts:
            began_s = time.perf_counter()
            taken = run(tasks, None, count, Told(f"groups of hosts emptied by {count} workers"))
            seconds[count].append(time.perf_counter() - began_s)
            first = taken if first is None else first
            if taken != first:
                sys.exit(
                    f"{parser.prog}: {count} workers gave another result; a part is more than its number"
                )
    for count, times in seconds.items():
        print(f"{count} workers: {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})")
    if chosen.out:
        output.write_json(
            chosen.out,
            {
                "command": " ".join([parser.prog, *arguments]),
                "machine": machine.facts(),
                "load": machine.load(),
                "guests": chosen.guests,
                "draws": chosen.draws,
                "parts": len(tasks),
                "seconds": {
                    str(count): [round(each, 2) for each in times] for count, times in seconds.items()
                },
            },
        )


if __name__ == "__main__":
    main(sys.argv[1:])
