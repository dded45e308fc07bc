"""``python -m scripts.studies.glance SWEEP.parquet``: total time / downtime, a line a trace.

Of some strategies. F: had to be forced. Of the slowest link, guests as fast as recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scripts.studies.rows import label, line

from pagethrift.units import format_seconds

STRATEGIES = ("kvm-default", "kvm-xbzrle", "xen", "thesis", "cloudnet", "pagethrift")


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of a sweep's rows (as dicts of its columns)."""
    every = [row for row in rows if row["speed"] == 1 and label(row) in STRATEGIES]
    slowest_bps = min(row["bandwidth_bps"] for row in every)
    cells = {(row["trace"], label(row)): _cell(row) for row in every if row["bandwidth_bps"] == slowest_bps}
    lines = [line(["trace", *(f"`{name}`" for name in STRATEGIES)]), line(["---"] * (1 + len(STRATEGIES)))]
    for trace in dict.fromkeys(trace for trace, _ in cells):
        shown = (cells.get((trace, name), "-") for name in STRATEGIES)
        lines.append(line([trace.removesuffix(".parquet"), *shown]))
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any]) -> str:
    downtime = "-" if row["downtime_s"] is None else f"{row['downtime_s'] * 1000:.0f} ms"
    return f"{format_seconds(row['total_time_s'])} / {downtime}" + ("" if row["converged"] else " F")


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.glance", description=__doc__)
    parser.add_argument("sweep", type=Path, metavar="SWEEP.parquet")
    chosen = parser.parse_args(arguments)
    sys.stdout.write(markdown(pq.read_table(chosen.sweep).to_pylist()))


if __name__ == "__main__":
    main(sys.argv[1:])
