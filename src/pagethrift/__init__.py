"""Thin QEMU live migrations: never send a byte the destination already holds.

docs/python.md shows how a program uses these names. Each name is imported at its first use, so
`import pagethrift` alone loads neither NumPy nor Numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pagethrift.errors import (
    CancelledElsewhere,
    GuestError,
    LabError,
    LinkError,
    PagethriftError,
    QmpError,
    SourceEnded,
    StreamError,
    UsageError,
    VirtError,
)

__version__ = "0.1.0"

__all__ = [
    "CancelledElsewhere", "GuestError", "LabError", "LinkError", "LinkSpec", "MigrateOptions",
    "MigrationResult", "Outcome", "Output", "PagethriftError", "PauseReason", "PlainFeatures", "Progress",
    "QmpError", "Run", "SimulateOptions", "SourceEnded", "Strategy", "StreamError", "Thinner", "Trace",
    "UsageError", "VirtError", "__version__", "migrate", "parse_bandwidth", "read_result", "read_runs",
    "read_trace", "simulate", "strategy", "thin",
]  # fmt: skip

_HOMES = {
    "shortcuts": ("read_result", "read_runs", "read_trace", "simulate", "thin"),
    "engine.output": ("Output", "PauseReason"),
    "engine.thinner": ("Thinner",),
    "live.migrate": ("migrate",),
    "live.migrate_options": ("MigrateOptions", "PlainFeatures"),
    "live.watch": ("Progress",),
    "model.result": ("MigrationResult", "Outcome"),
    "report.runs": ("Run",),
    "simulator.simulate_options": ("SimulateOptions",),
    "simulator.virtual_link": ("LinkSpec",),
    "strategies.base": ("Strategy",),
    "strategies.table": ("strategy",),
    "trace.read": ("Trace",),
    "units": ("parse_bandwidth",),
}
"""module -> its names; the imports below tell type checkers and editors the same"""

if TYPE_CHECKING:
    from pagethrift.engine.output import Output, PauseReason
    from pagethrift.engine.thinner import Thinner
    from pagethrift.live.migrate import migrate
    from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
    from pagethrift.live.watch import Progress
    from pagethrift.model.result import MigrationResult, Outcome
    from pagethrift.report.runs import Run
    from pagethrift.shortcuts import read_result, read_runs, read_trace, simulate, thin
    from pagethrift.simulator.simulate_options import SimulateOptions
    from pagethrift.simulator.virtual_link import LinkSpec
    from pagethrift.strategies.base import Strategy
    from pagethrift.strategies.table import strategy
    from pagethrift.trace.read import Trace
    from pagethrift.units import parse_bandwidth


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"pagethrift.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'pagethrift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
