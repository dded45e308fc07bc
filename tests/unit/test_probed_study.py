"""The study of a watched guest's clients: each part of the client's series belongs to its window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scripts.studies import probed

from pagethrift.model.forecast import Cost
from tests.forecasts import forecast
from tests.unit.report.samples import migration, result

RATES = [50] * 10 + [10] * 20 + [20] * 30 + [40] * 20
"""of a second before, two while it was watched, three while it was simulated; then it moves"""


def made(**changes: Any) -> Any:
    watched = replace(forecast(), recorded_unix_s=501.0, cost=Cost(2.0, "watched"))
    moved = migration("pagethrift", 5.0, forecast=watched, began_unix_s=506.0)
    series = {
        "began_s": 100.0, "interval_s": 0.1, "operations": RATES,
        "p50_ms": [float(rate) for rate in RATES],
        "p99_ms": [None if rate == 50 else rate * 2.0 for rate in RATES],
    }  # fmt: skip
    client = {"began_s": 100.0, "began_unix_s": 500.0, "series": series}
    return replace(result("auto"), scenario="counters", migration=moved, client=client, **changes)


def test_parts_are_where_they_were() -> None:
    run = made()
    run.client["series"]["p99_ms"][:10] = [7.0] * 10
    (row,) = probed.table([run, run])
    assert list(row) == ["counters", "2", "500", "100", "200", "50.0", "10.0", "20.0", "7.0", "20.0", "40.0"]


def test_runs_without_a_forecast_or_answers_do_not_count() -> None:
    silent = made()
    silent.client["series"]["p50_ms"][:10] = [None] * 10
    unwatched = replace(made(), migration=migration("pagethrift", 5.0))
    assert probed.table([silent, unwatched]) == []
