"""The study of forecasts: regret and coverage of known runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts.studies import calibration

from pagethrift.report.runs import Run
from tests.forecasts import forecast, mode
from tests.unit.report.samples import migration, result, run, write
from tests.unit.report.test_calibration import OURS

MADE = forecast(mode(), mode("plain", 20.0))


def one(name: str, total_s: float, **changes: Any) -> Run:
    values = (OURS if name == "pagethrift" else {}) | changes
    return run(name, migration=migration(name, total_s, forecast=MADE, **values))


def test_regret_is_against_the_best_in_hindsight() -> None:
    runs = [one("pagethrift", 11.0), one("pagethrift", 13.0), one("plain", 10.0), one("plain", 10.0)]
    (found,) = calibration.regrets(runs)
    assert (found.recommended, found.best, found.recommended_s, found.best_s) == (
        "pagethrift", "plain", 12.0, 10.0,
    )  # fmt: skip
    assert found.share == pytest.approx(0.2)


@pytest.mark.parametrize("change", [{"converged": False, "forced_at_s": 5.0}, {"downtime_s": 0.9}])
def test_what_was_forced_or_broke_the_limit_is_not_the_best(change: dict[str, Any]) -> None:
    (found,) = calibration.regrets([one("pagethrift", 11.0), one("plain", 10.0, **change)])
    assert (found.best, found.share) == ("pagethrift", 0.0)


def test_without_runs_of_the_recommended_mode_there_is_no_regret() -> None:
    (found,) = calibration.regrets([one("plain", 10.0)])
    assert (found.recommended_s, found.share) == (None, None)
    assert calibration.regrets([run()]) == []


def test_tables_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [one("pagethrift", total_s).migration for total_s in (9.5, 10.0, 12.0)]
    write(tmp_path, *(result("pagethrift", repetition=i, migration=each) for i, each in enumerate(runs)))
    calibration.main([str(tmp_path), "--out", str(tmp_path / "out.json")])
    text = capsys.readouterr().out
    assert "| TT | 3 | 5.3% | 16.7% | 2 of 3 (67%) |" in text
    assert "* TT: coverage 66.7%, outside 85% to 97%" in text
    assert "Converges or not: right in 100.0% of 3 runs." in text
    assert "Regret: 0.0% at the median, 0.0% at worst." in text
    document = json.loads((tmp_path / "out.json").read_text())
    assert [each["name"] for each in document["measures"]] == ["TT", "DT", "TD"]
    assert document["converges"]["share_right"] == 1.0
