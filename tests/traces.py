"""Small traces for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pagethrift.model.result import MigrationResult
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.read import Trace, read_trace
from pagethrift.trace.synthetic import Load, Synthetic, make_trace

SMALL_PAGES = 4096


def made(folder: Path, load: Load = Load.UNIFORM, seed: int = 0, **wanted: Any) -> Trace:
    """Return a synthetic trace, read back from its file."""
    values: dict[str, Any] = {"pages": SMALL_PAGES, "writes_per_s": 1000.0, "seconds": 6.0}
    path = folder / f"{load}.parquet"
    make_trace(path, Synthetic(load, **(values | wanted)))
    return read_trace(path, seed)


def run(
    trace: Trace, name: str, bandwidth_bps: float = 12.5e6, stop: str = "", **options: Any
) -> MigrationResult:
    """Simulate with a strategy by name; ``options`` of the simulation, parameters as ``parameters``."""
    parameters = options.pop("parameters", {})
    link = options.pop("link", LinkSpec(bandwidth_bps))
    return simulate(trace, strategy(name, stop, **parameters), SimulateOptions(link, **options))
