"""A forecast of a migration: what each mode would take, as 90 % intervals, and which one to choose.

``docs/forecast.md`` describes every field; change both together. A new optional field keeps the version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from pagethrift.errors import UsageError

FORECAST_SCHEMA = "pagethrift.forecast"
FORECAST_VERSION = 1
CONFIDENCE = 0.9
"""share of migrations that should end within an interval"""

Setting = str | int | float | bool


class Converges(StrEnum):
    """Whether a mode ends by itself within the downtime limit's rule."""

    YES = "yes"
    NO = "no"
    PERHAPS = "perhaps"
    """some of the simulated migrations did, or the simulator is often wrong about this mode"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and the ends of its 90 % interval."""

    low: float
    median: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether a measured value lies within."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One mode on a link of another bandwidth; None where it does not converge."""

    bandwidth_bps: float
    total_time_s: float | None = None
    downtime_s: float | None = None


@dataclass(frozen=True, slots=True)
class ModeForecast:
    """What one mode of migrating would take; an interval is None where no simulated migration ended."""

    name: str
    options: str
    """of ``pagethrift migrate``, to migrate in this mode"""
    plain: bool
    """without the relay"""
    strategy: str
    """as results name it: of the strategy table, "qemu" in plain mode"""
    parameters: Mapping[str, Setting]
    features: Mapping[str, Setting]
    """QEMU's own features, as results name them"""
    channels: int
    """compressed channels to the destination"""
    simulated: int
    """migrations that were simulated"""
    converged: int
    """those of them that ended by themselves"""
    converges: Converges
    total_time_s: Interval | None = None
    downtime_s: Interval | None = None
    data_bytes: Interval | None = None
    """RAM data, sent for the first time and again"""
    relay_cpu_s: Interval | None = None
    relay_peak_rss_bytes: Interval | None = None
    caution: str = ""
    """why this mode is never recommended by itself; empty if it may be"""
    curve: tuple[CurvePoint, ...] = ()
    """the mode on slower and faster links, if a plot was asked for"""
    converges_from_bps: float | None = None
    """on slower links it does not converge; None: it does on all that were tried, or nobody tried"""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The mode to choose."""

    name: str
    """of a mode; empty: none can be recommended"""
    reason: str
    """one sentence"""
    options: str = ""
    """of ``pagethrift migrate``"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the probe did to the guest."""

    logged_s: float = 0.0
    """seconds for which QEMU kept a dirty log, as a migration does"""
    what: str = "none: the guest was recorded before"
    """what QEMU did, one line"""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a migration of one guest would take, mode by mode."""

    guest: str
    """name of the guest, or of the trace's file"""
    recorded_unix_s: float
    """when the guest was watched"""
    expires_unix_s: float
    """after this a guest may have changed so much that a new forecast is due"""
    recorded_s: float
    """length of the recording after its first pass"""
    ram_bytes: int
    used_bytes: int
    """memory that is not zero"""
    bandwidth_bps: float
    bandwidth_spread: float
    """the link carries this share more or less, each value as likely"""
    downtime_limit_s: float
    horizon_s: float
    """a migration that takes longer counts as one that does not converge"""
    recommendation: Recommendation
    modes: tuple[ModeForecast, ...]
    force_after_s: float | None = None
    libvirt: bool = False
    """of a domain: options are those of ``pagethrift libvirt migrate``"""
    cost: Cost = field(default_factory=Cost)
    left_out: tuple[str, ...] = ()
    """modes that the simulator does not know, and why"""
    warnings: tuple[str, ...] = ()

    def mode(self, name: str) -> ModeForecast | None:
        """Return a mode by its name."""
        return next((each for each in self.modes if each.name == name), None)

    def to_data(self) -> dict[str, Any]:
        """Return the forecast as in its file, schema and version first."""
        return {"schema": FORECAST_SCHEMA, "version": FORECAST_VERSION, **asdict(self)}

    def to_json(self) -> str:
        """Return the forecast file's text."""
        return json.dumps(self.to_data(), indent=1) + "\n"

    @classmethod
    def from_data(cls, data: Any) -> Forecast:
        """Return a forecast from parsed JSON; unknown keys are ignored. Raises UsageError."""
        try:
            if data.get("schema", FORECAST_SCHEMA) != FORECAST_SCHEMA:
                raise UsageError(f"not a forecast: its schema is {data['schema']!r}")
            if data.get("version", FORECAST_VERSION) != FORECAST_VERSION:
                raise UsageError(f"a forecast of version {data['version']!r}; make a new one")
            values = _known(cls, data)
            values["recommendation"] = Recommendation(**_known(Recommendation, values["recommendation"]))
            values["modes"] = tuple(_mode(each) for each in values["modes"])
            values["cost"] = Cost(**_known(Cost, values.get("cost", {})))
            for name in ("left_out", "warnings"):
                values[name] = tuple(values.get(name, ()))
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a forecast of version {FORECAST_VERSION}: {error!r}") from error


_INTERVALS = ("total_time_s", "downtime_s", "data_bytes", "relay_cpu_s", "relay_peak_rss_bytes")


def _mode(data: Mapping[str, Any]) -> ModeForecast:
    values = _known(ModeForecast, data)
    values["converges"] = Converges(values["converges"])
    for name in _INTERVALS:
        if values.get(name) is not None:
            values[name] = Interval(**_known(Interval, values[name]))
    values["curve"] = tuple(CurvePoint(**_known(CurvePoint, each)) for each in values.get("curve", ()))
    return ModeForecast(**values)


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {key: value for key, value in data.items() if key in names}
