"""Facts about the runs: machine, versions, load; and where compared runs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pagethrift.report.runs import Run
from pagethrift.report.summary import by_mode
from pagethrift.results.label import label
from pagethrift.units import format_bandwidth, format_bytes, format_seconds

_MACHINE: Mapping[str, Callable[[Run], object]] = {
    "system": lambda run: run.migration.host.system,
    "processor": lambda run: run.migration.host.cpu_model,
    "processors used": lambda run: run.migration.host.cpus or "",
    "memory": lambda run: _bytes(run.migration.host.memory_bytes),
    "Python": lambda run: run.migration.host.python,
    "pagethrift": lambda run: run.migration.host.pagethrift,
    "QEMU at the source": lambda run: run.migration.source_qemu,
    "QEMU at the destination": lambda run: run.migration.destination_qemu,
    "accelerator": lambda run: run.migration.accelerator,
    "machine type": lambda run: run.migration.machine,
}
_SCENARIO: Mapping[str, Callable[[Run], object]] = {
    "guest RAM": lambda run: _bytes(run.migration.ram_bytes),
    "link": lambda run: format_bandwidth(run.migration.bandwidth_bps) if run.migration.bandwidth_bps else "",
    "downtime allowed": lambda run: format_seconds(run.migration.downtime_limit_s),
}
Facts = dict[str, list[str]]
"""name -> the values found, sorted"""


def machine_facts(runs: Iterable[Run]) -> Facts:
    """Return the hosts, QEMUs and versions of the runs."""
    return _facts(_MACHINE, list(runs))


def scenario_facts(runs: Iterable[Run]) -> Facts:
    """Return the guest, its load and the link of the runs."""
    runs = list(runs)
    facts = _facts(_SCENARIO, runs)
    for prefix, tables in (
        ("load", [run.client.spec for run in runs if run.client]),
        ("link", [run.link for run in runs]),
    ):
        for name in dict.fromkeys(name for table in tables for name in table):
            found = {label(_text(table[name])) for table in tables if name in table}
            facts[label(f"{prefix}: {name}")] = sorted(found)
    return facts


def mode_facts(runs: Iterable[Run]) -> dict[str, str]:
    """Return the settings of each mode: QEMU's features, or the strategy and its parameters."""
    settings_of = {}
    for mode, group in by_mode(runs).items():
        migration = group[0].migration
        settings = ", ".join(f"{k} = {v}" for k, v in {**migration.parameters, **migration.features}.items())
        settings_of[mode] = label(
            f"{migration.mode.value}, {migration.strategy}" + (f": {settings}" if settings else "")
        )
    return settings_of


def mixed(facts: Facts) -> list[str]:
    """Return a sentence for each fact in which the runs differ."""
    return [f"{name}: {'; '.join(values)}" for name, values in facts.items() if len(values) > 1]


def _facts(table: Mapping[str, Callable[[Run], object]], runs: list[Run]) -> Facts:
    found = {name: {label(value(run)) for run in runs} - {""} for name, value in table.items()}
    return {name: sorted(values) for name, values in found.items() if values}


def _bytes(count: int) -> str:
    return format_bytes(count) if count else ""


def _text(value: object) -> str:
    return "not set" if value is None else str(value)
