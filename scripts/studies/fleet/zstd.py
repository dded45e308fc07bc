"""``python -m scripts.studies.fleet.zstd LIVE``: the study's model of multifd-zstd against live runs."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from scripts.studies.faithful import Group, live_groups
from scripts.studies.fleet.table import zstd_bps
from scripts.studies.rows import line

from pagethrift.forecast.play import PAYLOAD_SHARE
from pagethrift.model.result import MigrationResult
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import read_trace

MODE = "multifd-zstd"


def modelled(group: Group, traces: Path) -> tuple[MigrationResult, float]:
    """Return the model's migration of a scenario and the zstd share of its pages. Raises UsageError."""
    trace = read_trace(traces / f"{group.scenario}.parquet")
    share = 1.0 if trace.zstd_ratio is None else trace.zstd_ratio
    options = SimulateOptions(
        link=LinkSpec(zstd_bps(group.bandwidth_bps * PAYLOAD_SHARE, share)),
        downtime_limit_s=group.migrations[0].downtime_limit_s,
        chunk_pages=0,
    )
    return simulate(trace, strategy("kvm-default"), options), share


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.fleet.zstd", description=__doc__)
    parser.add_argument("live", type=Path, metavar="LIVE", help="e.g. docs/results/channels.parquet")
    parser.add_argument("--traces", type=Path, default=Path("traces/channels"), help="SCENARIO.parquet each")
    chosen = parser.parse_args(arguments)
    heads = ("guest", "total time, s", "downtime, ms", "sent, MB")
    lines = [line(heads), line(["---"] * len(heads))]
    off: list[list[float]] = [[], [], []]
    for group in sorted(live_groups(chosen.live), key=lambda each: each.scenario):
        if group.mode != MODE:
            continue
        result, share = modelled(group, chosen.traces)
        cells = [group.scenario]
        pairs = (
            (group.median("total_time_s"), result.total_time_s, 1.0, ".1f"),
            (group.median("downtime_s"), result.downtime_s, 1e3, ".0f"),
            (group.median("transferred_bytes"), result.transferred_bytes * share, 1e-6, ".0f"),
        )
        for errors, (live, model, unit, form) in zip(off, pairs, strict=True):
            if live and model:
                errors.append(abs(model / live - 1))
                cells.append(f"{live * unit:{form}} / {model * unit:{form}}")
            else:
                cells.append("-")
        lines.append(line(cells))
    lines.append("")
    for name, errors in zip(heads[1:], off, strict=True):
        if errors:
            lines.append(
                f"* {name}: {statistics.median(errors):.0%} off at the median, {max(errors):.0%} at worst"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
