"""``python -m scripts.studies.fleet``: a fleet's hosts are emptied; ranges over draws (docs/fleet.md)."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.studies.fleet import show, table
from scripts.studies.fleet.spec import Spec, read
from scripts.studies.fleet.study import parts, ranges, run

from pagethrift.errors import UsageError
from pagethrift.simulator.sweep import SweepProgress, run_sweep

ROOT = Path(__file__).resolve().parents[3]


class Told:
    """Lines of progress on stderr, at most one a second and a last one."""

    def __init__(self, what: str) -> None:
        """``what``: is counted, e.g. "migrations simulated"."""
        self._what, self._told_s = what, 0.0
        self._tty = sys.stderr.isatty()

    def __call__(self, done: int, all_: int) -> None:
        """Tell how far it is."""
        now_s = time.monotonic()
        if done < all_ and now_s - self._told_s < (1 if self._tty else 10):
            return
        self._told_s = now_s
        end = "\r" if self._tty and done < all_ else "\n"
        print(f"{done} of {all_} {self._what}", end=end, file=sys.stderr, flush=True)


def tabulated(
    spec: Spec, traces: tuple[table.TraceFacts, ...], work: Path, scheduler: str | None, workers: int | None
) -> Path:
    """Return the results of the table's sweep; what ``work`` has already is not simulated again."""
    told = Told("migrations simulated")

    def progress(now: SweepProgress) -> None:
        told(now.done + now.failed, now.cells)

    cells = list(dict.fromkeys(table.cells(spec, traces)))
    return run_sweep(cells, work, scheduler, workers, progress).resolve()


def study(chosen: argparse.Namespace) -> dict[str, Any]:
    """Carry the study out."""
    spec = read(chosen.spec)
    traces = table.facts(spec, chosen.traces)
    began_s = time.perf_counter()
    results = tabulated(spec, traces, chosen.work, chosen.scheduler, chosen.workers)
    tabulated_s = time.perf_counter()
    tasks = list(parts(spec, traces, str(results), chosen.guests, chosen.draws))
    taken = run(tasks, chosen.scheduler, chosen.workers, Told("groups of hosts emptied"))
    ended_s = time.perf_counter()
    of_self, of_workers = (
        resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "machine": machine.facts(),
        "guests": chosen.guests,
        "draws": chosen.draws,
        "migrations_simulated": len(set(table.cells(spec, traces))),
        "seconds": {"table": round(tabulated_s - began_s, 1), "draws": round(ended_s - tabulated_s, 1)},
        "peak_memory_bytes": {"client": of_self, "largest_worker": of_workers},
        **ranges(spec, taken),
    }


def main(arguments: list[str]) -> None:
    """Carry the study out, print its tables and write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.fleet",
        description=__doc__,
        epilog="Example: python -m scripts.studies.fleet --guests 2000 --draws 3 --out results/fleet.json. "
        "Interrupted, it goes on from the simulations that --work has.",
    )
    parser.add_argument("--guests", type=int, default=100_000, help="in each draw (default: 100000)")
    parser.add_argument("--draws", type=int, default=20, help="of guests and their traces (default: 20)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/fleet.json")
    add_common(parser)
    parser.add_argument("--workers", type=int, help="on this machine (default: one for each core)")
    parser.add_argument(
        "--scheduler", metavar="ADDR", help="a Dask scheduler whose workers see the same files"
    )
    chosen = parser.parse_args(arguments)
    if chosen.guests < 1 or chosen.draws < 1:
        parser.error("--guests and --draws are at least 1")
    try:
        found = study(chosen)
    except UsageError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    document = {"command": " ".join(["python -m scripts.studies.fleet", *arguments]), **found}
    if chosen.out:
        output.write_json(chosen.out, document)
    sys.stdout.write(show.markdown(document))


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is studied."""
    parser.add_argument(
        "--spec",
        type=Path,
        default=ROOT / "studies/fleet.toml",
        help="what is assumed (default: studies/fleet.toml)",
    )
    parser.add_argument("--traces", type=Path, default=ROOT / "traces", help="the folder of traces")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("results/fleet"),
        help="keeps the simulations (default: results/fleet)",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
