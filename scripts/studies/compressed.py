"""``python -m scripts.studies.compressed``: what the simulator says a channel takes, and what zstd took.

Streams of five guests (30 MB/s at the source) were captured and put through the relay's encoding and zstd.
The captures are not kept, the traces are of other runs of the same guests. A simulation of the trace is
therefore as long as it takes for the plain encoding to need the bytes that it needed for the capture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scripts.studies.rows import line

from pagethrift.model.channels import Compress
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.model.result import MigrationResult
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import Trace, read_trace

SOURCE_BPS = 30e6
SHORTEST_S, LONGEST_S = 3.0, 25.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one captured stream; level 1, window of 128 MiB, long-distance matching, one channel."""

    plain_mb: float
    """skip, sparse, deltas, full pages"""
    compressed_mb: float
    """skip, and every other page through zstd"""
    first_share: float
    """compressed bytes of the first pass, of its pages that are not zero"""


MEASURED: Mapping[str, Measured] = {
    "compressible": Measured(156.4, 43.8, 0.269),
    "steady-uniform": Measured(157.4, 71.3, 0.448),
    "counters": Measured(99.3, 35.1, 0.310),
    "hot-zipf": Measured(98.3, 52.0, 0.448),
    "idle": Measured(67.1, 27.1, 0.318),
}


def simulated(trace: Trace, seconds: float, compress: Compress) -> MigrationResult:
    """Return a migration as the source sends it, for so long."""
    row = strategy("pagethrift", hold_share=0, margin=0.0001, accept=0.0001, patience=1e9)
    options = SimulateOptions(
        LinkSpec(2 * SOURCE_BPS),  # it never waits, and is slow enough for long frames
        force_after_s=seconds,
        source_bps=SOURCE_BPS,
        chunk_pages=0,
        compress=compress,
        channels=1,
    )
    return simulate(trace, row, options)


def length_s(trace: Trace, plain_mb: float) -> float:
    """Return how long a simulation is whose plain encoding takes so many bytes."""
    low, high = SHORTEST_S, LONGEST_S
    for _ in range(8):
        middle = (low + high) / 2
        if simulated(trace, middle, Compress.OFF).transferred_bytes < plain_mb * 1e6:
            low = middle
        else:
            high = middle
    return low


def cells(name: str, trace: Trace) -> list[str]:
    """Return one row of the table: measured / simulated."""
    measured = MEASURED[name]
    seconds = length_s(trace, measured.plain_mb)
    plain = simulated(trace, seconds, Compress.OFF)
    result = simulated(trace, seconds, Compress.ON)
    first_share = result.first_round_bytes / PAGE_BYTES / int(np.count_nonzero(trace.content > 0))
    return [
        name,
        f"{measured.plain_mb} / {plain.transferred_bytes / 1e6:.1f}",
        f"{measured.first_share:.1%} / {first_share:.1%}",
        f"{measured.compressed_mb} / {result.transferred_bytes / 1e6:.1f}",
    ]


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.compressed", description=__doc__)
    parser.add_argument("--traces", type=Path, default=Path("traces"), metavar="DIR")
    parser.add_argument("--trace", action="append", choices=sorted(MEASURED), help="only these, repeatable")
    chosen = parser.parse_args(arguments)
    lines = [line(["guest", "plain, MB", "first pass, of its pages", "compressed, MB"]), line(["---"] * 4)]
    for name in MEASURED:
        if not chosen.trace or name in chosen.trace:
            lines.append(line(cells(name, read_trace(chosen.traces / f"{name}.parquet"))))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
