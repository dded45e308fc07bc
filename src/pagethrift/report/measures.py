"""The measures of a run in one table: the thesis's names, units, and whether more is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pagethrift.model.result import Mode
from pagethrift.report.estimate import Estimate, Spread
from pagethrift.report.runs import Run
from pagethrift.units import format_bytes, format_seconds

PHASES = ("before", "during", "after")


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a run."""

    key: str
    name: str
    meaning: str
    of: Callable[[Run], float | None]
    show: Callable[[float], str]
    more_is_better: bool = False
    compared: bool = True
    """whether it can be compared with a migration without a relay"""


def _of_migration(name: str) -> Callable[[Run], float | None]:
    return lambda run: getattr(run.migration, name)


def _of_phase(phase: str, name: str) -> Callable[[Run], float | None]:
    def of(run: Run) -> float | None:
        found = run.client.phases.get(phase) if run.client else None
        return None if found is None else getattr(found, name)

    return of


def _source_cpu_s(run: Run) -> float | None:
    """Return the CPU time of the source host's QEMU and relay; None when either was not measured."""
    relay_s = run.migration.relay_cpu_s if run.migration.mode is Mode.RELAY else 0.0
    qemu_s = run.migration.source_cpu_s
    return None if qemu_s is None or relay_s is None else qemu_s + relay_s


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _rate(value: float) -> str:
    return f"{value:.0f}/s"


MEASURES = (
    Measure("total_time_s", "TT", "total time", _of_migration("total_time_s"), format_seconds),
    Measure("downtime_s", "DT", "downtime, STOP to RESUME", _of_migration("downtime_s"), format_seconds),
    Measure(
        "blackout_s", "blackout", "longest gap a client saw", _of_migration("blackout_s"), format_seconds
    ),
    Measure(
        "first_round_bytes", "TD", "sent for the first time", _of_migration("first_round_bytes"), format_bytes
    ),
    Measure("retransferred_bytes", "RD", "sent again", _of_migration("retransferred_bytes"), format_bytes),
    Measure(
        "transferred_bytes",
        "link",
        "everything on the link",
        _of_migration("transferred_bytes"),
        format_bytes,
    ),
    Measure(
        "relay_cpu_s", "CPU", "of the relay", _of_migration("relay_cpu_s"), format_seconds, compared=False
    ),
    Measure(
        "source_host_cpu_s",
        "CPU, source",
        "source QEMU and relay, the guest's own work included",
        _source_cpu_s,
        format_seconds,
    ),
    Measure(
        "relay_peak_rss_bytes",
        "MEM",
        "peak memory of the relay",
        _of_migration("relay_peak_rss_bytes"),
        format_bytes,
        compared=False,
    ),
    Measure(
        "ratio",
        "x one pass",
        "TT / one pass over the non-zero RAM",
        _of_migration("ratio"),
        _ratio,
        compared=False,
    ),
    *(
        Measure(
            f"operations_per_s_{phase}",
            f"throughput {phase}",
            "answers a second",
            _of_phase(phase, "operations_per_s"),
            _rate,
            more_is_better=True,
            compared=phase != "before",
        )
        for phase in PHASES
    ),
    *(
        Measure(
            f"p99_s_{phase}",
            f"p99 {phase}",
            "latency from when a request was due",
            _of_phase(phase, "p99_s"),
            format_seconds,
            compared=phase != "before",
        )
        for phase in PHASES
    ),
)


def further(name: str) -> Measure:
    """Return the measure of an optional field, its unit taken from the end of its name."""
    return Measure(name, name, "", lambda run: run.further.get(name), _formatter(name), compared=False)


def _formatter(name: str) -> Callable[[float], str]:
    field = name.rpartition(".")[2] if "_" in name.rpartition(".")[2] else name.partition(".")[0]
    if field.endswith("_bytes_per_s"):
        return lambda value: f"{format_bytes(value)}/s"
    if field.endswith("_bytes"):
        return format_bytes
    return format_seconds if field.endswith("_s") else lambda value: f"{value:g}"


def interval(found: Estimate | None, show: Callable[[float], str]) -> str:
    """Return an estimate in words: ``23.6 s (23.1 s to 24.0 s)``, or ``23.6 s`` for one run."""
    if found is None:
        return "-"
    if found.spread is Spread.NONE:
        return show(found.median)
    return f"{show(found.median)} ({show(found.low)} to {show(found.high)})"
