"""The result of one migration, real or simulated: a versioned record that reports read.

``docs/result-format.md`` describes every field; change both together. A new optional field keeps
the version; removing or renaming a field, or giving it another meaning, raises the version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from enum import StrEnum
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.model.forecast import Forecast
from pagethrift.model.methods import COUNTED_AS

RESULT_SCHEMA = "pagethrift.migration-result"
RESULT_VERSION = 1

ParameterValue = str | int | float | bool


def recorded_parameters(
    parameters: Mapping[str, float], stop: str, stop_parameters: Mapping[str, float]
) -> dict[str, ParameterValue]:
    """Return a strategy's parameters as a result has them: those of a stop rule put in its place stand apart.

    ``stop``: the name of that rule, "" if the strategy keeps its own.
    """
    if not stop:
        return dict(parameters)
    return {**parameters, "stop": stop, **{f"stop.{name}": value for name, value in stop_parameters.items()}}


class Mode(StrEnum):
    """What was between the two QEMUs."""

    RELAY = "relay"
    """the stream went through pagethrift's relay"""
    PLAIN = "plain"
    """QEMU connected straight to the destination"""


class Outcome(StrEnum):
    """How a migration ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PageCounters:
    """Page records on the link by kind, and those that were saved."""

    full: int = 0
    """whole pages"""
    delta: int = 0
    """XBZRLE records"""
    zero: int = 0
    """ZERO records"""
    skipped: int = 0
    """not sent because the destination already held them"""
    compressed: int = 0
    """pages in packets of a compressed multifd channel"""

    @classmethod
    def by_method(cls, counts: Sequence[int]) -> PageCounters:
        """Return the counters for ``counts``, the pages by Method (see ``model.methods.COUNTED_AS``)."""
        values: dict[str, int] = {}
        for method, name in COUNTED_AS.items():
            values[name] = values.get(name, 0) + int(counts[method])
        return cls(**values)

    def named(self) -> list[tuple[str, int]]:
        """Return every counter, as (name, count)."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]

    @property
    def total(self) -> int:
        """Pages counted, by whatever counter."""
        return sum(astuple(self))

    def __add__(self, other: PageCounters) -> PageCounters:
        """Return what both counted together."""
        return PageCounters(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, earlier: PageCounters) -> PageCounters:
        """Return what was counted since ``earlier``."""
        return PageCounters(
            *(now - before for now, before in zip(astuple(self), astuple(earlier), strict=True))
        )


def flat_name(counter: str) -> str:
    """Return the key of a counter where the page counters stand flat among other fields, as in a round."""
    return f"{counter}_pages"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One pass of QEMU over its dirty bitmap."""

    round: int
    """0 = the first pass over all RAM"""
    began_s: float
    """seconds since the migration began"""
    dirty_pages: int
    """pages dirty when the round began"""
    sent_bytes: int
    """RAM bytes put on the link during the round"""
    pages: PageCounters
    """flat in the file: ``full_pages`` and so on"""
    held_pages: int
    """pages waiting in the relay when the round ended"""


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """What an operator changed while the migration ran; None: that stayed as it was."""

    at_s: float
    """seconds since the migration began"""
    downtime_limit_s: float | None = None
    bandwidth_bps: int | None = None
    """the most that may go on the link, in bytes per second; 0: no limit any more"""
    go: bool = False
    """a migration that waited for it might switch over from now on"""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The measuring machine; results are comparable only when these facts agree."""

    system: str = ""
    """operating system and kernel release"""
    cpu_model: str = ""
    cpus: int = 0
    """logical processors the process may use"""
    memory_bytes: int = 0
    python: str = ""
    pagethrift: str = ""


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """One migration; ``None`` in a measure means that it was not measured."""

    mode: Mode
    strategy: str
    """name in the strategy table; "qemu" in plain mode"""
    outcome: Outcome
    simulated: bool
    began_unix_s: float
    ended_unix_s: float
    downtime_limit_s: float

    total_time_s: float
    """from the `migrate` command to the source's "completed" or to the failure"""
    downtime_s: float | None = None
    """from STOP at the source to RESUME at the destination, on one clock"""
    qemu_downtime_s: float | None = None
    """the downtime that the source QEMU reports"""
    blackout_s: float | None = None
    """the longest gap that a client of the guest saw"""
    first_round_bytes: int = 0
    """RAM bytes for pages sent for the first time"""
    retransferred_bytes: int = 0
    """RAM bytes for pages sent again"""
    transferred_bytes: int = 0
    """everything on the link"""
    stale_pages: int | None = None
    """simulations only: pages whose content at the destination differs from the source's"""
    relay_cpu_s: float | None = None
    source_cpu_s: float | None = None
    """CPU time of the source QEMU during the migration, guest work included"""
    relay_peak_rss_bytes: int | None = None
    one_pass_bound_s: float | None = None
    """non-zero RAM bytes / link bandwidth"""
    ratio: float | None = None
    """total_time_s / one_pass_bound_s"""

    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    """parameters given to the strategy"""
    features: Mapping[str, ParameterValue] = field(default_factory=dict)
    """QEMU features of a plain migration, e.g. ``{"xbzrle-cache-size": 536870912}``"""
    converged: bool = False
    """completed by decision of the strategy (or QEMU), not forced"""
    forced_at_s: float | None = None
    """when the operator's deadline (force_after) forced the switchover, seconds since the migration began"""
    switchover_reason: str = ""
    predicted_downtime_s: float | None = None
    """the predicted downtime when the switchover was decided"""
    changes: tuple[ChangeRecord, ...] = ()
    """what operators changed meanwhile; the result's own limit is the one in force at the switchover"""
    migration_id: str = ""
    """of this migration, as its log lines and metrics have it"""
    error: str = ""
    """one line, when the outcome is not completed"""
    warnings: tuple[str, ...] = ()
    channels: int = 0
    """compressed channels to the destination; 0: pages travelled plain"""
    window_bytes: int = 0
    """how far back in each channel the compressor looked: so much memory a channel, at both ends"""
    bandwidth_bps: float | None = None
    """link bandwidth as configured, bytes per second"""
    ram_bytes: int = 0
    """all migratable RAM blocks"""
    pages: PageCounters = PageCounters()
    rounds: tuple[RoundRecord, ...] = ()
    source_qemu: str = ""
    """QEMU version"""
    destination_qemu: str = ""
    machine: str = ""
    """QEMU machine type"""
    accelerator: str = ""
    """kvm or tcg"""
    driver: str = ""
    """what drove both QEMUs for pagethrift, such as libvirt 9.0.0; empty: nothing, pagethrift did"""
    driver_job: Mapping[str, ParameterValue] = field(default_factory=dict)
    """the driver's own statistics of the finished job, by its names"""
    host: HostFacts = HostFacts()
    forecast: Forecast | None = None
    """what was said before the migration began"""

    def to_data(self) -> dict[str, Any]:
        """Return the result as in its file, schema and version first."""
        data = {"schema": RESULT_SCHEMA, "version": RESULT_VERSION, **asdict(self)}
        for record in data["rounds"]:
            record |= {flat_name(name): count for name, count in record.pop("pages").items()}
        return data

    def to_json(self) -> str:
        """Return the result file's text."""
        return json.dumps(self.to_data(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> MigrationResult:
        """Read a result from its text. Raises UsageError, also when the text is not JSON."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UsageError(f"not a migration result: not JSON ({error})") from error
        return cls.from_data(data)

    @classmethod
    def from_data(cls, data: Any) -> MigrationResult:
        """Return a result from parsed JSON; unknown keys are ignored, so that newer writers stay readable.

        Raises UsageError when ``data`` is not a migration result or is of another schema version.
        """
        _check_schema(data)
        try:
            return _result(data)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"not a migration result of version {RESULT_VERSION}: {error}") from error


def _check_schema(data: Any) -> None:
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != RESULT_SCHEMA:
        raise UsageError(f"not a migration result: expected schema {RESULT_SCHEMA!r}, got {schema!r}")
    version = data.get("version")
    if version != RESULT_VERSION:
        raise UsageError(
            f"migration result of version {version!r}: this pagethrift reads version {RESULT_VERSION};"
            " read it with the pagethrift that wrote it"
        )


def _result(data: dict[str, Any]) -> MigrationResult:
    values = _known(MigrationResult, data)
    values["mode"] = Mode(values.get("mode", ""))
    values["outcome"] = Outcome(values.get("outcome", ""))
    values["warnings"] = tuple(values.get("warnings", ()))
    values["changes"] = tuple(
        ChangeRecord(**_known(ChangeRecord, each)) for each in values.get("changes", ())
    )
    values["pages"] = PageCounters(**_known(PageCounters, values.get("pages", {})))
    values["host"] = HostFacts(**_known(HostFacts, values.get("host", {})))
    if values.get("forecast") is not None:
        values["forecast"] = Forecast.from_data(values["forecast"])
    values["rounds"] = tuple(_round(record) for record in values.get("rounds", ()))
    return MigrationResult(**values)


def _round(data: Mapping[str, Any]) -> RoundRecord:
    values = _known(RoundRecord, data)
    values["pages"] = PageCounters(**{f.name: data.get(flat_name(f.name), 0) for f in fields(PageCounters)})
    return RoundRecord(**values)


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {key: value for key, value in data.items() if key in names}
