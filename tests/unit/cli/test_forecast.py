"""``pagethrift forecast`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli import forecast as command
from pagethrift.errors import UsageError
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import Probe
from pagethrift.live.dry_run import QmpGuest
from pagethrift.model.forecast import Converges, Cost, Forecast, Recommendation
from tests.forecasts import forecast, mode


class Forecaster:
    """Answers with ``made``, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = forecast()
        self.asked: list[tuple[Probe | Path, ForecastSettings]] = []
        monkeypatch.setattr(command, "forecast_guest", self)
        monkeypatch.setattr(command, "forecast_file", self)

    async def __call__(self, of: Probe | Path, settings: ForecastSettings, *_: Any) -> Forecast:
        self.asked.append((of, settings))
        return self.made


@pytest.fixture
def forecaster(monkeypatch: pytest.MonkeyPatch) -> Forecaster:
    return Forecaster(monkeypatch)


def call(*arguments: object) -> Result:
    given = ["--bandwidth", "1Gbit", *map(str, arguments)]
    return CliRunner().invoke(command.app, given, catch_exceptions=False, env={"COLUMNS": "200"})


def test_what_is_asked_for(forecaster: Forecaster) -> None:
    assert call("--qmp", "/run/vm1.qmp").exit_code == 0
    more = ("--downtime-limit", "1s", "--seconds", "5", "--bandwidth-spread", "0.1", "--force-after", "1min")
    assert call("--qmp", "/run/vm1.qmp", *more, "--no-compress").exit_code == 0
    assert call("--trace", "t.parquet").exit_code == 0
    assert forecaster.asked == [
        (Probe(QmpGuest("/run/vm1.qmp"), 20.0), ForecastSettings(125_000_000)),
        (Probe(QmpGuest("/run/vm1.qmp"), 5.0), ForecastSettings(125_000_000, 0.1, 1.0, 60.0, channels=False)),
        (Path("t.parquet"), ForecastSettings(125_000_000)),
    ]


def test_people_read_a_table_the_recommendation_and_the_cost(forecaster: Forecaster) -> None:
    forecaster.made = forecast(
        mode(), mode("plain", 20.0, converges=Converges.NO, converged=0, total_time_s=None),
        recommendation=Recommendation("pagethrift", "It is the shortest.", "--param hold_share=0"),
        cost=Cost(23.4, "QEMU did this"), left_out=("multifd: no model",), warnings=("odd",),
    )  # fmt: skip
    done = call("--qmp", "/run/vm1.qmp")
    assert "yes (10 of 10)" in done.stdout
    assert "10.0 s (9.0 s to 11.0 s)" in done.stdout
    assert "no (0 of 10)" in done.stdout
    assert "Recommended: It is the shortest." in done.stdout
    assert "pagethrift migrate --param hold_share=0 ..." in done.stdout
    assert (
        "Cost for the guest: 23.4 s under dirty logging; QEMU did this. The forecast expired" in done.stdout
    )
    assert "Not simulated: multifd: no model." in done.stdout
    assert done.stderr == "pagethrift: warning: odd\n"


def test_programs_read_all_of_it(forecaster: Forecaster, tmp_path: Path) -> None:
    out = tmp_path / "f.json"
    done = call("--qmp", "/run/vm1.qmp", "--json", "--out", out)
    data = json.loads(done.stdout)
    assert data["expires_unix_s"] == 1600.0
    assert data["cost"]["logged_s"] == 0.0
    assert Forecast.from_data(data) == forecaster.made == Forecast.from_data(json.loads(out.read_text()))


@pytest.mark.parametrize(
    ("name", "begins"), [("p.svg", b"<svg"), ("p.png", b"\x89PNG"), ("p.HTML", b"<!doctype html>")]
)
def test_a_plot_by_the_ending_of_its_name(
    forecaster: Forecaster, tmp_path: Path, name: str, begins: bytes
) -> None:
    assert call("--qmp", "/run/vm1.qmp", "--plot", tmp_path / name).exit_code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert forecaster.asked[0][1].curve


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of --qmp SOCKET, --domain NAME and --trace FILE"),
        (("--qmp", "/q", "--trace", "t"), "give one of"),
        (("--domain", "vm1", "--trace", "t"), "give one of"),
        (("--qmp", "/q", "--plot", "p.pdf"), "a name that ends in .svg, .png, .html"),
        (("--qmp", "/q", "--plot", "/absent/p.svg"), "--plot /absent/p.svg"),
        (("--qmp", "/q", "--out", "/absent/f.json"), "--out /absent/f.json"),
        (("--qmp", "/q", "--bandwidth-spread", "1.5"), "--bandwidth-spread 1.5"),
        (("--qmp", "/q", "--downtime-limit", "soon"), "not a duration"),
        (("--qmp", "/q", "--seconds", "soon"), "not a duration"),
    ],
)
def test_refusals_before_the_guest_is_touched(
    forecaster: Forecaster, arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        call(*arguments)
    assert forecaster.asked == []


def test_a_picture_without_matplotlib_is_refused_before_the_guest_is_touched(
    forecaster: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .\.\[report\]"):
        call("--qmp", "/q", "--plot", "p.svg")
    assert forecaster.asked == []
