"""Forecasts made by hand, with round numbers."""

from __future__ import annotations

from typing import Any

from pagethrift.model.forecast import (
    Converges,
    CurvePoint,
    Forecast,
    Interval,
    ModeForecast,
    Recommendation,
)
from pagethrift.strategies.table import strategy


def mode(name: str = "pagethrift", total_s: float = 10.0, **changes: Any) -> ModeForecast:
    """A mode that converges, within a tenth of its median; "plain..." has no relay."""
    plain = name.startswith(("plain", "xbzrle", "auto", "post"))
    values: dict[str, Any] = {
        "name": name,
        "options": "--plain" if plain else "",
        "plain": plain,
        "strategy": "qemu" if plain else "pagethrift",
        "parameters": {} if plain else dict(strategy("pagethrift").parameters),
        "features": {},
        "channels": 0 if plain else 2,
        "simulated": 10,
        "converged": 10,
        "converges": Converges.YES,
        "total_time_s": Interval(0.9 * total_s, total_s, 1.1 * total_s),
        "downtime_s": Interval(0.05, 0.1, 0.2),
        "data_bytes": Interval(0.9e8, 1e8, 1.1e8),
    }
    return ModeForecast(**values | changes)


def forecast(*modes: ModeForecast, **changes: Any) -> Forecast:
    """A forecast for 1 Gbit/s; the first mode is recommended."""
    modes = modes or (mode(curve=(CurvePoint(1e7), CurvePoint(2e7, 5.0, 0.1)), converges_from_bps=2e7),)
    values: dict[str, Any] = {
        "guest": "vm1.qmp",
        "recorded_unix_s": 1000.0,
        "expires_unix_s": 1600.0,
        "recorded_s": 20.0,
        "ram_bytes": 1 << 30,
        "used_bytes": 1 << 28,
        "bandwidth_bps": 125e6,
        "bandwidth_spread": 0.05,
        "downtime_limit_s": 0.3,
        "horizon_s": 60.0,
        "recommendation": Recommendation(modes[0].name, "It is the shortest.", modes[0].options),
        "modes": modes,
    }
    return Forecast(**values | changes)
