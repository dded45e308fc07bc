"""Forecasts against what came."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pagethrift.cli import report
from pagethrift.model.forecast import Converges, Forecast, Interval
from pagethrift.report.calibration import as_json, calibrations, convergence, forecast_of, table
from pagethrift.report.runs import Run
from pagethrift.strategies.table import strategy
from tests.forecasts import forecast, mode
from tests.unit.report.samples import migration, result, write
from tests.unit.report.samples import run as sample

OURS: dict[str, Any] = {
    "parameters": dict(strategy("pagethrift").parameters),
    "channels": 2,
    "first_round_bytes": 10**8,
}


def run(total_s: float, made: Forecast | None = None, name: str = "pagethrift", **changes: Any) -> Run:
    values = (OURS if name == "pagethrift" else {}) | changes
    one = migration(name, total_s, forecast=made or forecast(mode(), mode("plain", 20.0)), **values)
    return sample(name, migration=one)


def test_errors_and_coverage_of_known_runs() -> None:
    runs = [run(total_s) for total_s in (8.0, 9.5, 10.0, 10.5, 12.5)]
    time, downtime, data = calibrations(runs)
    assert (time.name, time.runs, time.covered) == ("TT", 5, 3)
    assert time.median_error == pytest.approx(10 / 9.5 - 1)
    assert time.p90_error == pytest.approx(10 / 8 - 1)
    assert (downtime.median_error, downtime.covered, downtime.relative) == (0.0, 5, False)
    assert (data.name, data.median_error) == ("TD", 0.0)
    assert time.coverage == 0.6


def test_each_run_is_held_against_its_own_mode() -> None:
    modes = (
        mode(), mode("pagethrift, plain pages", 11.0, channels=0), mode("plain", 20.0),
        mode("xbzrle:64MiB", 15.0, features={"xbzrle-cache-size": 64 << 20}),
        mode("xen", 30.0, strategy="xen", channels=0, parameters={}),
    )  # fmt: skip
    made = forecast(*modes)
    assert forecast_of(run(1.0, made).migration) == modes[0]
    assert forecast_of(run(1.0, made, channels=0).migration) == modes[1]
    assert forecast_of(run(1.0, made, "plain", features={"max-bandwidth": 0}).migration) == modes[2]
    assert forecast_of(run(1.0, made, "plain", features={"xbzrle-cache-size": 1 << 20}).migration) == modes[3]
    other = OURS["parameters"] | {"hold_share": 0.5}
    assert forecast_of(run(1.0, made, parameters=other).migration) is None
    assert forecast_of(migration("pagethrift", **OURS)) is None


def test_a_forced_run_counts_where_the_forecast_knew_the_deadline() -> None:
    forced: dict[str, Any] = {"converged": False, "forced_at_s": 9.0}
    unaware, aware = forecast(mode()), forecast(mode(), force_after_s=9.0)
    assert calibrations([run(10.0, unaware, **forced)]) == []
    assert [each.runs for each in calibrations([run(10.0, aware, **forced)])] == [1, 1, 1]


def test_right_about_converging() -> None:
    no = forecast(mode(converges=Converges.NO, converged=0))
    perhaps = forecast(mode(converges=Converges.PERHAPS, converged=6))
    forced: dict[str, Any] = {"converged": False, "forced_at_s": 9.0}
    runs = [
        run(1.0),
        run(1.0, **forced),
        run(1.0, no, **forced),
        run(1.0, perhaps),
        run(1.0, perhaps, **forced),
    ]
    found = convergence(runs)
    assert (found.right, found.wrong, found.perhaps, found.perhaps_right) == (2, 1, 2, 1)
    assert found.share_right == 0.6
    assert table(runs)[-1] == ["converges", "5", "", "", "2 of 3 right; 2 of 5 perhaps"]


def test_a_report_shows_it_in_every_form(tmp_path: Path) -> None:
    runs = [result("pagethrift", repetition=i, migration=run(10.0).migration) for i in range(2)]
    write(tmp_path, *runs)
    called = CliRunner().invoke(report.app, [str(tmp_path)], catch_exceptions=False)
    assert "### Forecasts" in called.output
    assert "| TT | 2 | 0.0% | 0.0% | 2 of 2 (100%) |" in called.output
    data = json.loads(CliRunner().invoke(report.app, [str(tmp_path), "--json"]).output)
    assert data["forecasts"]["measures"][0]["covered"] == 2
    CliRunner().invoke(report.app, [str(tmp_path), "--out", str(tmp_path / "r.html")], catch_exceptions=False)
    assert '<section id="forecasts"' in (tmp_path / "r.html").read_text()


def test_runs_without_forecasts_show_nothing(tmp_path: Path) -> None:
    assert table([sample()]) == []
    assert as_json([sample()]) == {"measures": [], "converges": None}
    write(tmp_path, result())
    assert "Forecasts" not in CliRunner().invoke(report.app, [str(tmp_path)], catch_exceptions=False).output


def test_an_interval_that_is_missing_counts_nowhere() -> None:
    made = forecast(replace(mode(), total_time_s=None, downtime_s=Interval(0.2, 0.3, 0.4)))
    downtime, _ = calibrations([run(10.0, made)])
    assert (downtime.name, downtime.covered, round(downtime.median_error, 6)) == ("DT", 0, 0.2)
