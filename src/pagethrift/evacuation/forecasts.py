"""The seam to `pagethrift forecast`: its file, as parsed JSON, becomes one guest's costs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.evacuation.costs import Costs, Estimate, Point, Range, joined

SCHEMA = "pagethrift.forecast"
SHORTEST_S = 1e-3
"""of a migration: what takes no time would never let the plan's clock go on"""


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a forecast says of one guest in one mode."""

    mode: str
    options: tuple[str, ...]
    """of ``pagethrift migrate``, for this mode"""
    costs: Costs
    ram_bytes: float
    limit_s: float
    """the downtime limit that it was made for"""
    libvirt: bool
    """the options are those of ``pagethrift libvirt migrate``"""
    expires_unix_s: float


def foretold(data: Any, mode: str = "") -> Foretold:
    """Read a forecast; ``mode``: by name, default the recommended one. Raises UsageError.

    Where no mode is recommended, the first that could be is taken, as one that does not converge.
    """
    try:
        if data["schema"] != SCHEMA:
            raise UsageError(f"not a forecast: its schema is {data['schema']!r}")
        modes = {str(each["name"]): each for each in data["modes"]}
        usual = next((each for each, one in modes.items() if not one.get("caution")), "")
        name = mode or str(data["recommendation"]["name"]) or usual or next(iter(modes))
        if name not in modes:
            raise UsageError(f"its forecast has no mode {name!r}; choose one of {', '.join(modes)}")
        chosen = modes[name]
        if data.get("libvirt") and chosen.get("plain"):
            raise UsageError(f"its mode {name!r} is virsh migrate alone, which pagethrift does not run")
        points = joined(_points(chosen, float(data["bandwidth_bps"])))
        return Foretold(
            mode=name,
            options=tuple(shlex.split(str(chosen["options"]))),
            costs=Costs(points, throttled=any(map(_throttles, modes.values()))),
            ram_bytes=_number(data["ram_bytes"]),
            limit_s=_number(data["downtime_limit_s"]),
            libvirt=bool(data.get("libvirt")),
            expires_unix_s=_number(data["expires_unix_s"]),
        )
    except (AttributeError, KeyError, OverflowError, StopIteration, TypeError, ValueError) as error:
        raise UsageError(f"not a forecast that can be read: {error!r}") from error


def _throttles(mode: Mapping[str, Any]) -> bool:
    return bool(mode.get("features", {}).get("auto-converge")) and mode["converges"] == "yes"


def _points(mode: Mapping[str, Any], at_bps: float) -> Iterator[Point]:
    """Yield the mode's estimates, on slower and faster links with the spread that it has at its own."""
    if mode["total_time_s"] is None or mode["downtime_s"] is None or mode["data_bytes"] is None:
        return
    total, downtime, sent = (_range(mode[name]) for name in ("total_time_s", "downtime_s", "data_bytes"))
    _number(total.median, SHORTEST_S)
    from_bps, lowest = _number(mode["converges_from_bps"] or 0.0), None
    for each in mode["curve"]:
        bps, total_s, downtime_s = (each[name] for name in ("bandwidth_bps", "total_time_s", "downtime_s"))
        if total_s is None or downtime_s is None or bps < from_bps or not bps > 0:
            continue
        here = _around(total, _number(total_s, SHORTEST_S)), _around(downtime, _number(downtime_s))
        point = Point(_number(bps), Estimate(*here, sent))
        lowest = lowest or point
        yield point
    if lowest is not None and 0 < from_bps < lowest.bps:
        slower = lowest.estimate.total_s.scaled(lowest.bps / from_bps)
        yield Point(from_bps, Estimate(slower, lowest.estimate.downtime_s, sent))
    if mode["converges"] != "no" and at_bps >= from_bps:
        yield Point(at_bps, Estimate(total, downtime, sent))


def _number(value: Any, least: float = 0.0) -> float:
    """Return a number from ``least`` on. Raises TypeError, ValueError."""
    found = float(value)
    if not least <= found < math.inf:
        raise ValueError(f"{found:g} is no number from {least:g} on")
    return found


def _range(data: Mapping[str, Any]) -> Range:
    found = Range(*(float(data[name]) for name in ("low", "median", "high")))
    if not (0 <= found.low <= found.median <= found.high < math.inf and found.median > 0):
        raise ValueError(f"{found} is no interval")
    return found


def _around(spread: Range, median: float) -> Range:
    return spread.scaled(median / spread.median)
