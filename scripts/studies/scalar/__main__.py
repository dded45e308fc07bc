"""``python -m scripts.studies.scalar``: CloudSim, SimGrid and our simulator against live migrations.

The live medians and our simulations are those of result files of ``scripts.studies.faithful``; the guests'
RAM, working set and dirty rate are taken from their traces. Needs SimGrid and a C++ compiler (Debian:
libsimgrid-dev, g++), but not for ``--table`` and ``--chart``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scripts.bench import output
from scripts.studies.faithful import PAYLOAD_SHARE
from scripts.studies.scalar import chart, simgrid, tables
from scripts.studies.scalar.content import content_rows
from scripts.studies.scalar.formulas import SIMGRID_DOWNTIME_S, Prediction, Scalars, cloudsim, precopy
from scripts.studies.scalar.guest import WINDOW_S, WINDOWS_S, GuestFacts, facts

from pagethrift.errors import UsageError
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.trace.read import read_trace

LIVE = (
    "docs/results/faithful.json",
    "docs/results/faithful-comparison.json",
    "docs/results/faithful-channels.json=traces/channels",
)
ARCHIVES = (
    Path("docs/results/faithful"),
    Path("docs/results/comparison.parquet"),
    Path("docs/results/channels.parquet"),
)  # fmt: skip
MOST_DIFFERENCE = 0.002
"""between the plugin and its algorithm as ``formulas.precopy`` has it; the plugin counts whole bytes"""


@dataclass(frozen=True, slots=True)
class Source:
    """A result file of ``scripts.studies.faithful``, and where its traces are."""

    path: Path
    traces: Path

    @classmethod
    def parse(cls, text: str) -> Source:
        """Return what ``FILE.json=TRACES`` says; ``=TRACES`` may be left out."""
        path, _, traces = text.partition("=")
        return cls(Path(path), Path(traces or "traces"))

    def groups(self) -> list[dict[str, Any]]:
        """Return the file's groups. Raises UsageError."""
        try:
            found: list[dict[str, Any]] = json.loads(self.path.read_text())["groups"]
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{self.path}: no result of scripts.studies.faithful ({error})") from error
        return found


def compared(sources: Iterable[Source]) -> Iterator[dict[str, Any]]:
    """Return each guest, link, mode and channels once, from the first file: live medians, and ours."""
    seen = set()
    for source in sources:
        for group in source.groups():
            key = (group["scenario"], group["mode"], group["bandwidth_bps"], group.get("channels", 0))
            if key not in seen:
                seen.add(key)
                yield {
                    "scenario": group["scenario"],
                    "traces": str(source.traces),
                    "mode": group["mode"],
                    "bandwidth_bps": float(group["bandwidth_bps"]),
                    "channels": group.get("channels", 0),
                    "runs": group["runs"],
                    "live_converged": group["live_converged"],
                    "ours_converged": group["simulated_converged"],
                    "live": _measures(group["live"]),
                    "ours": _measures(group["simulated"]),
                }


def _measures(values: Mapping[str, Any]) -> dict[str, float | None]:
    sent = (values["first_round_bytes"], values["retransferred_bytes"])
    return {
        "total_time_s": values["total_time_s"],
        "downtime_s": values["downtime_s"],
        "sent_bytes": None if None in sent else float(sum(sent)),
    }


class Plugin:
    """SimGrid's plugin, each answer held against the algorithm that its source defines."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.simgrid = ""
        self.largest_difference = 0.0
        """between both total times, of the plugin's"""

    def __call__(self, guest: Scalars) -> Prediction:
        """Return the plugin's migration. Raises UsageError when it is not the algorithm's."""
        found = simgrid.migrate(self.program, guest)
        if found.max_downtime_s != SIMGRID_DOWNTIME_S:
            raise UsageError(f"SimGrid {found.simgrid} allows another downtime: {found.max_downtime_s:g} s")
        self.simgrid = found.simgrid
        told_s, expected_s = found.prediction.total_time_s, precopy(guest).total_time_s
        if (told_s is None) != (expected_s is None):
            raise UsageError(f"SimGrid says {told_s} s, its algorithm {expected_s} s, of {guest}")
        if told_s is not None and expected_s is not None:
            difference = abs(expected_s / told_s - 1)
            if difference > MOST_DIFFERENCE:
                raise UsageError(f"SimGrid says {told_s:.3f} s, its algorithm {expected_s:.3f} s, of {guest}")
            self.largest_difference = max(self.largest_difference, difference)
        return found.prediction


def predictions(guest: GuestFacts, link_bps: float, plugin: Plugin) -> dict[str, Prediction]:
    """Return what each simulator says of a guest and link, by the names in ``tables.SIMULATORS``."""
    nonzero = Scalars(
        guest.nonzero_bytes, guest.dirty_bps[f"{WINDOW_S:g}"], guest.working_set_bytes, link_bps
    )
    every = replace(nonzero, ram_bytes=guest.ram_bytes)
    found = {
        "cloudsim": cloudsim(every),
        "cloudsim_best": cloudsim(nonzero, 1.0),
        "simgrid_all": plugin(every),
        "simgrid": plugin(nonzero),
        "precopy_limit": precopy(nonzero, DOWNTIME_LIMIT_S),
    }
    for window_s in WINDOWS_S:
        if window_s != WINDOW_S:
            rate_bps = guest.dirty_bps[f"{window_s:g}"]
            found[f"simgrid_{window_s:g}s"] = plugin(replace(nonzero, dirty_bps=rate_bps))
    return found


def study(sources: Iterable[Source], archives: Iterable[Path], program: Path) -> dict[str, Any]:
    """Return the result file's content. Raises UsageError."""
    groups = list(compared(sources))
    plugin = Plugin(program)
    guests: dict[tuple[str, str], GuestFacts] = {}
    cells = []
    links = dict.fromkeys((each["traces"], each["scenario"], each["bandwidth_bps"]) for each in groups)
    for number, (traces, scenario, bandwidth_bps) in enumerate(links, 1):
        print(f"{number} of {len(links)}: {scenario}", file=sys.stderr)
        if (traces, scenario) not in guests:
            guests[traces, scenario] = facts(read_trace(Path(traces) / f"{scenario}.parquet"))
        said = predictions(guests[traces, scenario], bandwidth_bps * PAYLOAD_SHARE, plugin)
        cells.append(
            {
                "scenario": scenario, "traces": traces, "bandwidth_bps": bandwidth_bps,
                "predictions": {name: asdict(each) for name, each in said.items()},
            }
        )  # fmt: skip
    return {
        "simgrid": {
            "version": plugin.simgrid,
            "max_downtime_s": SIMGRID_DOWNTIME_S,
            "largest_difference_to_its_algorithm": plugin.largest_difference,
        },
        "guests": [
            {"scenario": scenario, "traces": traces, **asdict(each)}
            for (traces, scenario), each in guests.items()
        ],
        "cells": cells,
        "groups": groups,
        "content": [asdict(each) for each in content_rows(archives, "pagethrift")],
    }


def main(arguments: list[str]) -> None:
    """Run the study, or show a result file as tables or as a chart."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.scalar",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m scripts.studies.scalar --out docs/results/scalar.json",
    )
    parser.add_argument(
        "--live", action="append", type=Source.parse, metavar="FILE.json[=TRACES]",
        help="result of scripts.studies.faithful and the folder of its traces (default: traces); repeatable:"
        f" what several have is taken from the first (default: {', '.join(LIVE)})",
    )  # fmt: skip
    parser.add_argument(
        "--content", action="append", type=Path, metavar="RESULTS",
        help="live results whose pages are counted, repeatable"
        f" (default: {', '.join(map(str, ARCHIVES))})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the result file to write")
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="print the tables of a result file")
    parser.add_argument(
        "--chart", type=Path, metavar="FILE.svg", help="draw --table's result file, print nothing"
    )
    given = parser.parse_args(arguments)
    if given.table:
        document = _read(given.table)
        if given.chart:
            given.chart.write_text(chart.svg(document))
        else:
            sys.stdout.write(tables.markdown(document))
        return
    if given.chart:
        raise UsageError("--chart draws the result file that --table names")
    with tempfile.TemporaryDirectory(prefix="pagethrift-scalar-") as folder:
        program = simgrid.build(Path(folder))
        document = study(
            given.live or list(map(Source.parse, LIVE)), given.content or ARCHIVES, program
        )  # fmt: skip
    command = " ".join(["python -m scripts.studies.scalar", *arguments])
    if given.out:
        output.write_json(given.out, {"command": command, **document})
    sys.stdout.write(tables.markdown(document))


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no result of this study ({error})") from error
    return document


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UsageError as error:
        sys.exit(f"scalar: {error}")
