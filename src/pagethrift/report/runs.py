"""Runs for a report: from untrusted JSON, with every number checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pagethrift.errors import UsageError
from pagethrift.model.result import MigrationResult, Mode, Outcome
from pagethrift.model.run_result import RamEquality, RunResult
from pagethrift.results.label import label

NO_CLIENT = "migrations without a client"
SIMULATED = "simulated migrations"
"""scenarios of results that ``pagethrift migrate`` and ``pagethrift simulate`` wrote"""
LARGEST = 1e18
"""bound for any byte count or time of a migration"""
SHORTEST_INTERVAL_S = 1e-3
MOST_POINTS = 1_000_000
"""most intervals of a series: more than a day at ten a second"""


@dataclass(frozen=True, slots=True)
class Phase:
    """What clients measured in one part of the run."""

    began_s: float
    """CLOCK_MONOTONIC of the lab's machine, as all times of the client"""
    ended_s: float
    operations_per_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """Answers in intervals of time; a latency is None where nothing was answered."""

    began_s: float
    interval_s: float
    operations: tuple[float, ...]
    p50_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]
    max_ms: tuple[float | None, ...]
    middle: str = "p50"
    """kind of ``p50_ms``: "mean" if a load generator reports no percentile"""


@dataclass(frozen=True, slots=True)
class Client:
    """What the load generator reported."""

    spec: Mapping[str, Any]
    phases: Mapping[str, Phase]
    series: Series | None
    began_s: float
    began_unix_s: float | None
    """wall clock of ``began_s``"""
    memcaslap: Series | None = None
    """series of the thesis's load generator if it ran beside ours; on the same clock"""


@dataclass(frozen=True, slots=True)
class Run:
    """One migration with its scenario, client and link."""

    folder: str
    file: str
    scenario: str
    mode: str
    """the scenario's name for the mode"""
    repetition: int
    migration: MigrationResult
    client: Client | None = None
    lost_requests: int | None = None
    ram: RamEquality | None = None
    further: Mapping[str, float] = field(default_factory=dict)
    """optional measures by name, e.g. ``cpu_s.vcpu``"""
    link: Mapping[str, Any] = field(default_factory=dict)
    """facts of the link"""
    call: str = ""
    """equal for runs of one folder, whose repetitions count together; never shown"""

    @property
    def completed(self) -> bool:
        """Whether the migration completed, so that its measures count."""
        return self.migration.outcome is Outcome.COMPLETED


def from_run_result(result: RunResult, folder: str = "", file: str = "") -> Run:
    """Return a lab run for a report. Raises UsageError that names the field."""
    check_types(result.migration, "migration")
    if result.ram is not None:
        check_types(result.ram, "ram")
    for record, where in ((result.disk, "disk"), (result.link, "link")):
        if record is not None:
            check_types(record, where)
    return Run(
        folder=folder,
        file=file,
        scenario=label(result.scenario),
        mode=label(result.mode),
        repetition=int(number(result.repetition, "repetition")),
        migration=result.migration,
        client=_client(result.client) if result.client else None,
        lost_requests=int(number(result.lost_requests, "lost_requests")),
        ram=result.ram,
        further=_flattened(
            {
                "dirty_rate_bytes_per_s": result.dirty_rate_bytes_per_s,
                "cpu_s": result.cpu_s,
                "peak_rss_bytes": result.peak_rss_bytes,
                "disk": None if result.disk is None else asdict(result.disk),
            }
        ),
        link={} if result.link is None else asdict(result.link),
    )


def from_migration(result: MigrationResult, repetition: int, folder: str = "", file: str = "") -> Run:
    """Return a migration without a client as a run. Raises UsageError that names the field."""
    check_types(result, "migration")
    return Run(
        folder=folder,
        file=file,
        scenario=SIMULATED if result.simulated else NO_CLIENT,
        mode=label(_mode(result)),
        repetition=repetition,
        migration=result,
    )


def number(value: Any, where: str) -> float:
    """Return a finite number that is not negative. Raises UsageError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        raise UsageError(f"{where} must be a number from 0 to {LARGEST:g}, not {label(repr(value))}")
    return value


def check_types(record: Any, where: str) -> None:
    """Check a dataclass read from JSON against its own annotations. Raises UsageError."""
    kind: Any = type(record)
    for name, kinds in _kinds(kind):
        value, place = getattr(record, name), f"{where}.{name}"
        if is_dataclass(value):
            check_types(value, place)
        elif isinstance(value, int | float) and not isinstance(value, bool) and {int, float} & set(kinds):
            number(value, place)
        elif not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(k.__name__ for k in kinds)
            raise UsageError(f"{place} must be {wanted}, not {label(repr(value))}")
        elif isinstance(value, tuple):
            for item in value:
                if is_dataclass(item):
                    check_types(item, place)


@cache
def _kinds(record: type) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Return the fields of a dataclass with the types that each may have."""
    found = []
    for name, kind in get_type_hints(record).items():
        origin = get_origin(kind)
        found.append((name, get_args(kind) if origin is UnionType else (origin or kind,)))
    return tuple(found)


def _mode(result: MigrationResult) -> str:
    if result.mode is Mode.RELAY or result.simulated:
        return result.strategy
    features = [name for name in result.features if name != "max-bandwidth"]
    return " + ".join(["plain", *features])


def _client(data: Any) -> Client:
    phases = {}
    found = _table(data, "client").get("phases") or []
    if not isinstance(found, list):
        raise UsageError(f"client.phases must be a list, not {label(repr(found))}")
    for phase in found:
        where = "client.phases"
        phase = _table(phase, where)
        latency = _table(phase.get("latency_ms"), f"{where}.latency_ms")
        phases[str(phase.get("name"))] = Phase(
            number(phase.get("began_s"), f"{where}.began_s"),
            number(phase.get("ended_s"), f"{where}.ended_s"),
            number(phase.get("operations_per_s"), f"{where}.operations_per_s"),
            number(latency.get("p99"), f"{where}.latency_ms.p99") / 1000,
        )
    series, unix_s, memcaslap = (data.get(name) for name in ("series", "began_unix_s", "memcaslap"))
    return Client(
        spec=_table(data.get("spec") or {}, "client.spec"),
        phases=phases,
        series=None if series is None else _series(_table(series, "client.series"), "client.series"),
        began_s=number(data.get("began_s"), "client.began_s"),
        began_unix_s=None if unix_s is None else number(unix_s, "client.began_unix_s"),
        memcaslap=None if memcaslap is None else _memcaslap(_table(memcaslap, "client.memcaslap")),
    )


def _memcaslap(data: Mapping[str, Any]) -> Series:
    means = data.get("mean_ms")
    unknown = [None] * len(means) if isinstance(means, Sequence) else None
    return _series({**data, "p50_ms": means, "p99_ms": unknown}, "client.memcaslap", middle="mean")


def _series(data: Mapping[str, Any], where: str, middle: str = "p50") -> Series:
    interval_s = number(data.get("interval_s"), f"{where}.interval_s")
    columns = {name: data.get(name) for name in ("operations", "p50_ms", "p99_ms", "max_ms")}
    lengths = {len(column) if isinstance(column, Sequence) else -1 for column in columns.values()}
    if interval_s < SHORTEST_INTERVAL_S or len(lengths) != 1 or not 0 <= min(lengths) <= MOST_POINTS:
        raise UsageError(f"{where} needs intervals and lists of one length up to {MOST_POINTS}")

    def column(name: str) -> tuple[float | None, ...]:
        return tuple(None if v is None else number(v, f"{where}.{name}") for v in columns[name] or ())

    return Series(
        began_s=number(data.get("began_s"), f"{where}.began_s"),
        interval_s=interval_s,
        operations=tuple(value or 0.0 for value in column("operations")),
        p50_ms=column("p50_ms"),
        p99_ms=column("p99_ms"),
        max_ms=column("max_ms"),
        middle=middle,
    )


def _flattened(values: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            # true and false count as 1 and 0, e.g. "disk.fsck_clean"
            flat |= {
                label(f"{name}.{key}"): number(int(v) if isinstance(v, bool) else v, name)
                for key, v in value.items()
                if isinstance(v, int | float)
            }
        elif value is not None:
            flat[name] = number(value, name)
    return flat


def _table(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise UsageError(f"{where} must be an object, not {label(repr(data))}")
    return data
