"""The forecast as a file, alone and in a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.forecast import Forecast, Interval
from pagethrift.model.result import MigrationResult
from pagethrift.report.runs import check_types, from_migration
from pagethrift.results.archive import read_archive, write_archive
from tests.forecasts import forecast, mode
from tests.unit.report.samples import migration


def test_a_file_holds_all_of_it() -> None:
    made = forecast(mode(), mode("plain", 20.0, total_time_s=None), force_after_s=30.0, warnings=("slow",))
    data = json.loads(made.to_json())
    assert (data["schema"], data["version"]) == ("pagethrift.forecast", 1)
    assert Forecast.from_data(data) == made
    assert Forecast.from_data(data | {"later": 1}) == made, "newer writers stay readable"


def test_a_result_holds_it_beside_what_came() -> None:
    result = migration("pagethrift", forecast=forecast())
    again = MigrationResult.from_json(result.to_json())
    assert again == result
    assert MigrationResult.from_json(migration().to_json()).forecast is None
    assert from_migration(again, 0).migration.forecast == forecast()


def test_an_archive_loses_nothing_of_it(tmp_path: Path) -> None:
    result = migration("pagethrift", forecast=forecast())
    assert write_archive([("r.json", result)], "folder", tmp_path / "a.parquet") == 1
    assert [found.result for found in read_archive(tmp_path / "a.parquet")] == [result]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "other"}, "its schema is 'other'"),
        ({"version": 2}, "of version 2"),
        ({"modes": [{"name": "x"}]}, "not a forecast"),
        ({"modes": None}, "not a forecast"),
        ({"recommendation": None}, "not a forecast"),
    ],
)
def test_what_is_no_forecast_is_refused(change: dict[str, Any], says: str) -> None:
    data = json.loads(forecast().to_json()) | change
    with pytest.raises(UsageError, match=says):
        Forecast.from_data(data)
    with pytest.raises(UsageError):
        Forecast.from_data([])


def test_a_report_checks_the_numbers_of_a_forecast() -> None:
    check_types(forecast(), "forecast")
    wrong = forecast(mode(total_time_s=Interval(1.0, float("nan"), 2.0)))
    with pytest.raises(UsageError, match=r"forecast\.modes\.total_time_s\.median"):
        check_types(wrong, "forecast")


def test_an_interval_covers_its_ends() -> None:
    found = Interval(1.0, 2.0, 3.0)
    assert [found.covers(value) for value in (0.9, 1.0, 3.0, 3.1)] == [False, True, True, False]
