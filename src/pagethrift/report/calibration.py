"""Forecasts against what came: errors, coverage of the intervals, right about converging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pagethrift.model.forecast import Converges, Interval, ModeForecast
from pagethrift.model.result import MigrationResult, Mode
from pagethrift.report.runs import Run
from pagethrift.units import format_seconds

HEADINGS = ("forecast of", "runs", "error, median", "error, 90th percentile", "within the 90 % interval")
NOTE = (
    "Each run that has a forecast, against the forecast of its own mode. The error of TT and TD is the"
    " forecast's median / measured - 1, that of DT the difference; both without their sign. TD: RAM data,"
    " sent for the first time and again."
)
_IGNORED = "max-bandwidth"
"""a feature that is no mode of its own"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure that is forecast."""

    name: str
    key: str
    """of ModeForecast"""
    of: Callable[[MigrationResult], float | None]
    relative: bool = True


MEASURED = (
    Measured("TT", "total_time_s", lambda result: result.total_time_s),
    Measured("DT", "downtime_s", lambda result: result.downtime_s, relative=False),
    Measured("TD", "data_bytes", lambda result: result.first_round_bytes + result.retransferred_bytes),
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good the forecasts of one measure were."""

    name: str
    relative: bool
    """errors are shares; otherwise seconds"""
    runs: int
    median_error: float
    p90_error: float
    covered: int
    """runs within their interval"""

    @property
    def coverage(self) -> float:
        """Share of the runs within their interval."""
        return self.covered / self.runs


@dataclass(frozen=True, slots=True)
class Convergence:
    """How often a forecast was right about converging."""

    right: int
    wrong: int
    perhaps: int
    """forecasts that did not commit themselves"""
    perhaps_right: int
    """of these: right by the majority of their simulations"""

    @property
    def runs(self) -> int:
        """Runs with a forecast."""
        return self.right + self.wrong + self.perhaps

    @property
    def share_right(self) -> float:
        """Share of all runs, by the majority of the simulations where the answer was perhaps."""
        return (self.right + self.perhaps_right) / self.runs


def forecast_of(result: MigrationResult) -> ModeForecast | None:
    """Return what a result's forecast says of the mode in which it migrated; None if nothing."""
    if result.forecast is None:
        return None
    return next((mode for mode in result.forecast.modes if is_of(mode, result)), None)


def is_of(mode: ModeForecast, result: MigrationResult) -> bool:
    """Whether a result migrated in this mode; sizes, such as that of XBZRLE's cache, may differ."""
    if mode.plain != (result.mode is Mode.PLAIN):
        return False
    if mode.plain:
        return mode.features.keys() - {_IGNORED} == result.features.keys() - {_IGNORED}
    same = mode.strategy == result.strategy and bool(mode.channels) == bool(result.channels)
    return same and dict(mode.parameters) == dict(result.parameters)


def calibrations(runs: Sequence[Run]) -> list[Calibration]:
    """Return the calibration of each measure for which a run has a forecast."""
    found = []
    for measured in MEASURED:
        pairs = [pair for run in runs if (pair := _pair(run.migration, measured)) is not None]
        if not pairs:
            continue
        errors = sorted(
            abs(said.median - value) / (value if measured.relative else 1.0) for said, value in pairs
        )
        found.append(
            Calibration(
                measured.name, measured.relative, len(pairs), _quantile(errors, 0.5), _quantile(errors, 0.9),
                sum(said.covers(value) for said, value in pairs),
            )
        )  # fmt: skip
    return found


def convergence(runs: Sequence[Run]) -> Convergence:
    """Return how often the forecasts were right about converging."""
    right = wrong = perhaps = perhaps_right = 0
    for run in runs:
        mode = forecast_of(run.migration)
        if mode is None or not run.completed:
            continue
        if mode.converges is Converges.PERHAPS:
            perhaps += 1
            perhaps_right += (2 * mode.converged > mode.simulated) == run.migration.converged
        elif (mode.converges is Converges.YES) == run.migration.converged:
            right += 1
        else:
            wrong += 1
    return Convergence(right, wrong, perhaps, perhaps_right)


def _pair(result: MigrationResult, measured: Measured) -> tuple[Interval, float] | None:
    """Return what was said and what came; a forced run counts if the forecast knew of the deadline."""
    mode, value = forecast_of(result), measured.of(result)
    if mode is None or result.forecast is None or not value:
        return None
    said: Interval | None = getattr(mode, measured.key)
    comparable = result.converged or (
        result.forced_at_s is not None and result.forecast.force_after_s is not None
    )
    return (said, value) if said is not None and comparable else None


def _quantile(in_order: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return in_order[max(0, math.ceil(len(in_order) * share) - 1)]


def table(runs: Sequence[Run]) -> list[list[str]]:
    """Return the rows of the table; empty if no run has a forecast."""
    rows = [
        [
            each.name, str(each.runs), _error(each, each.median_error), _error(each, each.p90_error),
            f"{each.covered} of {each.runs} ({each.coverage:.0%})",
        ]
        for each in calibrations(runs)
    ]  # fmt: skip
    found = convergence(runs)
    if found.runs:
        unsure = f"; {found.perhaps} of {found.runs} perhaps" if found.perhaps else ""
        said = found.right + found.wrong
        rows.append(["converges", str(found.runs), "", "", f"{found.right} of {said} right{unsure}"])
    return rows


def as_json(runs: Sequence[Run]) -> Mapping[str, Any]:
    """Return the calibration for programs."""
    found = convergence(runs)
    return {
        "measures": [asdict(each) for each in calibrations(runs)],
        "converges": asdict(found) if found.runs else None,
    }


def _error(each: Calibration, error: float) -> str:
    return f"{error:.1%}" if each.relative else format_seconds(error)
