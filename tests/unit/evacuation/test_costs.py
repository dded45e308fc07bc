"""Costs of one guest: between known bandwidths, outside of them, and out of a forecast file."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.evacuation.costs import Costs, Point, stated
from pagethrift.evacuation.forecasts import foretold
from tests.unit.evacuation.guests import MB, costs


def test_between_two_bandwidths_lies_what_bytes_over_bandwidth_would_give() -> None:
    found = costs(1000, from_mbps=10)
    between = found.at(15 * MB)
    assert between is not None
    assert between.total_s.median == pytest.approx(1000 / 15)
    assert found.at(10 * MB) == found.points[0].estimate
    assert found.at(9.99 * MB) is None
    assert found.at(1e15) == found.points[-1].estimate
    assert Costs(()).at(1e15) is None


def test_bandwidths_at_which_the_downtime_passes_the_limit_do_not_count() -> None:
    found = costs(1000)
    assert found.within(0.1) == found
    assert found.within(0.09).points == ()


def test_bad_points_are_refused() -> None:
    one = costs(1000).points[0]
    with pytest.raises(UsageError, match="positive and rise"):
        Costs((one, one))
    with pytest.raises(UsageError, match="positive and rise"):
        Costs((Point(0.0, one.estimate),))


def test_stated_numbers_by_hand() -> None:
    found = stated(1000 * MB, 50 * MB, 0.3)
    at = next(each for each in found.points if each.bps >= 100 * MB)
    rest, sent = 1000 * MB, 0.0
    while True:
        sent, rest = sent + rest, 50 * MB * rest / at.bps
        if rest <= 0.3 * at.bps:
            break
    assert at.estimate.total_s.median == pytest.approx((sent + rest) / at.bps)
    assert at.estimate.downtime_s.median == pytest.approx(rest / at.bps)
    assert at.estimate.total_s.low < at.estimate.total_s.median < at.estimate.total_s.high
    assert 50 * MB < found.converges_from_bps < 200 * MB
    slow = found.points[0].estimate
    assert math.isinf(slow.total_s.high), "at twice the dirty rate it does not converge there"
    assert found.pessimistic().converges_from_bps > found.converges_from_bps


def forecast(**changes: Any) -> dict[str, Any]:
    mode = {
        "name": "pagethrift", "options": "--strategy pagethrift --compress off", "converges": "yes",
        "features": {},
        "total_time_s": {"low": 8.0, "median": 10.0, "high": 15.0},
        "downtime_s": {"low": 0.1, "median": 0.2, "high": 0.4},
        "data_bytes": {"low": 9e8, "median": 1e9, "high": 1.5e9},
        "curve": [
            {"bandwidth_bps": 25e6, "total_time_s": None, "downtime_s": None},
            {"bandwidth_bps": 50e6, "total_time_s": 20.0, "downtime_s": 0.25},
            {"bandwidth_bps": 200e6, "total_time_s": 6.0, "downtime_s": 0.1},
        ],
        "converges_from_bps": 40e6,
    }  # fmt: skip
    slowed = {**mode, "name": "slowed", "features": {"auto-converge": True}}
    return {
        "schema": "pagethrift.forecast", "version": 1, "bandwidth_bps": 100e6, "ram_bytes": 4 << 30,
        "downtime_limit_s": 0.3, "expires_unix_s": 1e9, "recommendation": {"name": "pagethrift"},
        "modes": [slowed, mode | changes],
    }  # fmt: skip


def test_a_forecast() -> None:
    found = foretold(forecast())
    assert (found.mode, found.options) == ("pagethrift", ("--strategy", "pagethrift", "--compress", "off"))
    assert (found.ram_bytes, found.limit_s, found.costs.throttled) == (4 << 30, 0.3, True)
    assert [each.bps for each in found.costs.points] == [40e6, 50e6, 100e6, 200e6]
    slowest, _, own, _ = (each.estimate for each in found.costs.points)
    assert own.total_s.median == 10
    assert own.total_s.high == 15
    assert slowest.total_s.median == pytest.approx(20 * 50 / 40)
    assert found.costs.at(39e6) is None
    assert foretold(forecast(), "slowed").mode == "slowed"


def test_a_forecast_without_convergence() -> None:
    assert foretold(forecast(total_time_s=None)).costs.points == ()
    only_faster = foretold(forecast(converges="no", converges_from_bps=150e6)).costs
    assert only_faster.converges_from_bps == 150e6


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"schema": "pagethrift.result"}, "not a forecast: its schema is 'pagethrift.result'"),
        ([], "not a forecast that can be read"),
        (forecast(total_time_s={"low": 1.0, "median": 0.5, "high": 2.0}), "not a forecast that can be read"),
        ({**forecast(), "modes": []}, "has no mode 'pagethrift'"),
    ],
)
def test_what_is_no_forecast_is_said(data: Any, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        foretold(data)


def test_an_unknown_mode_is_said() -> None:
    with pytest.raises(UsageError, match="has no mode 'xen'; choose one of slowed, pagethrift"):
        foretold(forecast(), "xen")
