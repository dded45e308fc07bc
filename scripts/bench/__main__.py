"""``python -m scripts.bench``: cat, the strategies and each stage side by side, in one run."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench import instructions, machine, output
from scripts.bench.mixes import MIXES, Mix, write_stream
from scripts.bench.pipes import command_measure
from scripts.bench.rounds import Sample, interleave
from scripts.bench.stages import stage_measures

from pagethrift.engine.warmup import warm_up

STRATEGIES = ("kvm-default", "thesis", "pagethrift")
BASELINE = "cat, pipes"
THIN = str(Path(sys.executable).parent / "pagethrift")
QUICK_MIXES = ("normal", "second-equal")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    pipe_pages: int
    """pages on the clock in the commands' streams; 262144 are 1 GiB"""
    in_process_pages: int
    rounds: int
    warm_ups: int
    mixes: tuple[str, ...]
    commands: bool = True


FULL = Plan(263_168, 65_536, 5, 1, tuple(mix.name for mix in MIXES))
"""1 GiB + 1024 pages: the untimed prefix is taken from it"""
QUICK = Plan(49_152, 16_384, 3, 0, QUICK_MIXES)


def measure(mix: Mix, plan: Plan, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the result of one mix."""
    small = write_stream(mix, folder / "in-process", plan.in_process_pages)
    measures: dict[str, Callable[[], Sample]] = {}
    large = small
    if plan.commands:
        large = write_stream(mix, folder / "pipes", plan.pipe_pages)
        measures[BASELINE] = command_measure(["cat"], large)
        measures["cat, sockets"] = command_measure(["cat"], large, sockets=True)
        for name in STRATEGIES:
            command = [THIN, "thin", "--strategy", name]
            measures[f"thin {name}, pipes"] = command_measure(command, large)
        measures["thin pagethrift, sockets"] = command_measure(
            [THIN, "thin", "--strategy", "pagethrift"], large, sockets=True
        )
    measures |= stage_measures(small, STRATEGIES)
    summaries = interleave(measures, plan.rounds, plan.warm_ups, BASELINE, say)
    for path in folder.iterdir():
        path.unlink()
    return {
        "summary": mix.summary,
        "pipe_bytes": large.measured_bytes if plan.commands else 0,
        "in_process_bytes": small.measured_bytes,
        "pages": {"pipes": large.measured_pages, "in_process": small.measured_pages},
        "measures": {name: summary.as_json() for name, summary in summaries.items()},
    }


def run(plan: Plan, say: Callable[[str], None], show: Callable[[str], None]) -> dict[str, Any]:
    """Measure every mix of a plan and return the document to write."""
    warm_up()
    began_s = time.monotonic()
    document: dict[str, Any] = {
        "kind": "pagethrift-bench",
        "version": 1,
        "machine": machine.facts(),
        "rounds": plan.rounds,
        "load_before": machine.load(),
        "mixes": {},
    }
    with tempfile.TemporaryDirectory(prefix="pagethrift-bench-", dir=stream_folder()) as name:
        for mix in MIXES:
            if mix.name in plan.mixes:
                result = measure(mix, plan, Path(name), lambda text, mix=mix: say(f"{mix.name}: {text}"))  # type: ignore[misc]
                document["mixes"][mix.name] = result
                show(output.table(mix.name, result) + "\n")
    document["load_after"] = machine.load()
    document["took_s"] = round(time.monotonic() - began_s, 1)
    return document


def stream_folder() -> str | None:
    """Return a folder in memory where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"), help="JSON result file")
    parser.add_argument("--plot", type=Path, help="plot (.svg or .png); default: beside --out")
    parser.add_argument("--quick", action="store_true", help="two mixes, 3 rounds, small streams (< 60 s)")
    parser.add_argument("--rounds", type=int, help="rounds on the clock")
    parser.add_argument("--mix", action="append", choices=[mix.name for mix in MIXES], help="only this mix")
    parser.add_argument("--instructions", action="store_true", help="count instructions too (slow)")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = Plan(
        plan.pipe_pages, plan.in_process_pages, options.rounds or plan.rounds, plan.warm_ups,
        tuple(options.mix or plan.mixes), plan.commands,
    )  # fmt: skip

    def say(text: str) -> None:
        print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)
        if not sys.stderr.isatty():
            print(file=sys.stderr)

    def show(text: str) -> None:
        print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr, flush=True)
        print(text, flush=True)

    document = run(plan, say, show)
    if options.instructions:
        document["instructions"] = instructions.count(show)
    output.write_json(options.out, document)
    picture = options.plot or options.out.with_suffix(".svg")
    output.plot(picture, document)
    load = document["load_before"], document["load_after"]
    print(f"{options.out}, {picture} (load average before {load[0][0]}, after {load[1][0]})")


if __name__ == "__main__":
    main()
