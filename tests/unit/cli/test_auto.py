"""``migrate --auto``: the forecast decides how to migrate, or that nothing moves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.cli import auto
from pagethrift.cli.auto import Asked, forecasted, settings_for
from pagethrift.errors import UsageError
from pagethrift.forecast.candidates import candidates
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import Probe
from pagethrift.live.dry_run import QmpGuest
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.model.channels import Compress
from pagethrift.model.forecast import Forecast, Recommendation
from tests.forecasts import forecast, mode

OPTIONS = MigrateOptions("/run/vm1.qmp", "host2:4444", "/run/vm1-new.qmp", bandwidth_bps=125_000_000)
NONE = Recommendation("", "No mode is sure to converge.")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a forecast was asked for; it says to migrate by the default strategy, holding half the limit."""
    found: list[Any] = []
    hold = mode("pagethrift, hold 50%")
    made = forecast(replace(hold, parameters={**hold.parameters, "hold_share": 0.5}))

    def make(probe: Probe, trace: None, settings: ForecastSettings) -> Forecast:
        found.append((probe, settings))
        return made

    monkeypatch.setattr(auto, "forecast_or_end", make)
    return found


def test_without_it_nothing_is_asked(asked: list[Any]) -> None:
    assert forecasted(OPTIONS, Asked()) == OPTIONS
    assert asked == []


def test_strategy_and_hold_budget_come_from_the_forecast(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(OPTIONS, downtime_limit_s=0.5, force_after_s=60.0)
    found = forecasted(options, Asked(auto=True, watch_s=7.0), as_json=True)
    assert asked == [
        (
            Probe(QmpGuest("/run/vm1.qmp"), 7.0),
            ForecastSettings(125_000_000, downtime_limit_s=0.5, force_after_s=60.0),
        )
    ]
    assert found.parameters["hold_share"] == 0.5
    assert (found.strategy, found.plain, found.downtime_limit_s) == ("pagethrift", False, 0.5)
    assert found.forecast is not None
    found.check()
    said = capsys.readouterr()
    assert json.loads(said.out)["type"] == "forecast"
    assert "It is the shortest." in said.err


@pytest.mark.parametrize("candidate", candidates(1000), ids=lambda each: each.name)
def test_every_mode_can_be_migrated_in(candidate: Any) -> None:
    one = mode(
        candidate.name, plain=candidate.plain, channels=candidate.channels,
        features=candidate.result_features, parameters=candidate.result_parameters,
        strategy="qemu" if candidate.plain else candidate.row,
    )  # fmt: skip
    if candidate.caution:
        return
    found = auto.recommended(OPTIONS, forecast(one))
    found.check()
    assert found.plain == candidate.plain
    if candidate.plain:
        assert found.features == candidate.features
    else:
        assert (found.strategy, found.parameters) == (candidate.row, candidate.result_parameters)
        assert (found.compress is not Compress.OFF) == bool(candidate.channels)


def test_nothing_moves_where_nothing_is_recommended(asked: list[Any], tmp_path: Path) -> None:
    none = forecast(mode(), recommendation=NONE)
    with pytest.raises(UsageError, match="nothing was moved"):
        auto.recommended(OPTIONS, none)
    forced = auto.recommended(replace(OPTIONS, force_after_s=60.0), none)
    assert (forced.strategy, forced.forecast) == ("pagethrift", none)


def test_a_forecast_can_be_kept_beside_a_mode_of_your_own(asked: list[Any]) -> None:
    options = replace(OPTIONS, plain=True)
    found = forecasted(options, Asked(watch_s=5.0))
    assert found.forecast is not None
    assert replace(found, forecast=None) == options
    assert asked[0][0] == Probe(QmpGuest("/run/vm1.qmp"), 5.0)
    forecasted(OPTIONS, Asked(auto=True))
    assert asked[1][0] == Probe(QmpGuest("/run/vm1.qmp"), 20.0)
    with pytest.raises(UsageError, match="give one of them"):
        Asked.of(False, "5s", Path("f.json"))
    assert Asked.of(True, "5s", None) == Asked(auto=True, watch_s=5.0)


def test_a_forecast_from_a_file(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    made = forecast(mode("plain"))
    path.write_text(made.to_json())
    assert forecasted(OPTIONS, Asked(file=path)) == replace(OPTIONS, forecast=made), "kept beside, no more"
    with pytest.raises(UsageError, match="has expired"):
        forecasted(OPTIONS, Asked(auto=True, file=path))
    monkeypatch.setattr("time.time", lambda: made.expires_unix_s - 1)
    assert forecasted(OPTIONS, Asked(auto=True, file=path)).plain
    assert asked == []
    path.write_text("{}")
    with pytest.raises(UsageError, match=r"--forecast .*: not a forecast"):
        forecasted(OPTIONS, Asked(file=path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": "xen"}, "leave your own out"),
        ({"parameters": {"margin": 0.5}}, "leave your own out"),
        ({"stop": "nova"}, "leave your own out"),
        ({"plain": True}, "leave your own out"),
        ({"plain": True, "features": PlainFeatures(auto_converge=True)}, "leave your own out"),
        ({"bandwidth_bps": None}, "give --bandwidth"),
    ],
)
def test_what_contradicts_it(asked: list[Any], changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        forecasted(replace(OPTIONS, **changes), Asked(auto=True))
    assert asked == []


def test_only_what_can_be_had_is_forecast(tmp_path: Path) -> None:
    assert settings_for(OPTIONS).channels
    assert not settings_for(replace(OPTIONS, compress=Compress.OFF)).channels
    assert not settings_for(replace(OPTIONS, destination_qmp=None)).channels
    assert settings_for(replace(OPTIONS, destination_qmp=None, channels=2)).channels
    assert settings_for(replace(OPTIONS, tls_folder=tmp_path)).relayed
    assert not settings_for(OPTIONS).relayed


def test_a_domains_forecast_is_for_libvirt(asked: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(replace(forecast(mode("plain")), libvirt=True).to_json())
    with pytest.raises(UsageError, match="pagethrift libvirt migrate takes it"):
        forecasted(OPTIONS, Asked(file=path))
