"""``migrate --auto`` between two real QEMUs: watched, forecast, moved, and both in the result."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.report.calibration import forecast_of
from tests.forecasts import forecast, mode
from tests.qemu.live.pair import Pair
from tests.qemu.live.test_guest_runs_once import command

pytestmark = pytest.mark.one_qemu

LINK = ("--bandwidth", "1Gbit", "--downtime-limit", "500ms")


def run(pair: Pair, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(pair, *LINK, *more), capture_output=True, text=True, timeout=250, check=False
    )


@pytest.mark.slow
def test_a_guest_is_watched_and_moved_as_recommended(pair: Pair) -> None:
    out = pair.folder / "r.json"
    done = run(pair, "--auto", "--watch", "2s", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert pair.states() == ("postmigrate", "running")
    result = MigrationResult.from_json(out.read_text())
    assert result.outcome is Outcome.COMPLETED
    assert result.forecast is not None
    assert result.forecast.cost.logged_s > 2.0
    assert result.forecast.recommendation.reason in done.stderr
    said = forecast_of(result)
    assert said is not None
    assert said.total_time_s is not None
    if result.mode != "relay" or said.channels:  # a QEMU that cannot take channels gets plain pages
        assert said.name == result.forecast.recommendation.name
    parameters = {parameter: pair.parameter(parameter) for parameter in ("downtime-limit", "max-bandwidth")}
    assert parameters == {"downtime-limit": 300, "max-bandwidth": 128 << 20}


@pytest.mark.long
def test_a_forecast_made_before_is_kept_beside_what_came(pair: Pair) -> None:
    now_s = time.time()
    made = forecast(mode("plain"), recorded_unix_s=now_s, expires_unix_s=now_s + 600)
    path, out = pair.folder / "f.json", pair.folder / "r.json"
    path.write_text(made.to_json())
    done = run(pair, "--auto", "--forecast", str(path), "--out", str(out))
    assert done.returncode == 0, done.stderr
    result = MigrationResult.from_json(out.read_text())
    assert (result.strategy, result.forecast) == ("qemu", made)
    assert json.loads(out.read_text())["forecast"]["guest"] == "vm1.qmp"


@pytest.mark.long
def test_nothing_moves_where_nothing_is_recommended(pair: Pair, tmp_path: Path) -> None:
    now_s = time.time()
    none = forecast(expires_unix_s=now_s + 600).to_data()
    none["recommendation"] |= {"name": "", "reason": "No mode is sure to converge."}
    (tmp_path / "f.json").write_text(json.dumps(none))
    done = run(pair, "--auto", "--forecast", str(tmp_path / "f.json"))
    assert done.returncode == 2
    assert "nothing was moved" in done.stderr
    assert pair.states() == ("running", "inmigrate")
