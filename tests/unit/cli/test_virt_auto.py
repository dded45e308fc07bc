"""``libvirt migrate --auto``: a domain's forecast decides, and only a domain's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.cli import auto
from pagethrift.cli.auto import Asked
from pagethrift.cli.virt_auto import forecasted
from pagethrift.errors import UsageError
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import Probe
from pagethrift.model.forecast import Forecast
from pagethrift.virt.dry_run import DomainGuest
from pagethrift.virt.options import VirtOptions
from pagethrift.virt.switchover import LIBVIRT_S, UNREAD_BYTES
from tests.forecasts import forecast, mode

OPTIONS = VirtOptions("vm1", "qemu+ssh://h/system", source_uri="qemu:///session", bandwidth_bps=12_500_000)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a forecast was asked for; it recommends the thesis' strategy."""
    found: list[Any] = []

    def make(probe: Probe, trace: None, settings: ForecastSettings) -> Forecast:
        found.append((probe, settings))
        return replace(forecast(replace(mode("thesis"), strategy="thesis", parameters={})), libvirt=True)

    monkeypatch.setattr(auto, "forecast_or_end", make)
    return found


def test_the_domain_is_watched_and_moved_as_recommended(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = forecasted(OPTIONS, Asked(auto=True, watch_s=3.0), as_json=True)
    ((probe, settings),) = asked
    assert probe == Probe(DomainGuest("vm1", "qemu:///session"), 3.0)
    assert (settings.libvirt, settings.channels) == (True, False)
    assert (settings.added_s, settings.unread_bytes) == (LIBVIRT_S, UNREAD_BYTES)
    assert (found.strategy, found.parallel) == ("thesis", None)
    assert found.forecast is not None
    assert json.loads(capsys.readouterr().out)["libvirt"]


def test_a_forecast_beside_a_mode_of_your_own(asked: list[Any]) -> None:
    options = replace(OPTIONS, parallel=2)
    found = forecasted(options, Asked(watch_s=3.0))
    assert replace(found, forecast=None) == options
    assert forecasted(options, Asked()) == options
    assert len(asked) == 1


@pytest.mark.parametrize("changes", [{"strategy": "xen"}, {"parallel": 2}, {"stop": "kubevirt"}])
def test_auto_leaves_nothing_else_to_choose(asked: list[Any], changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave your own and --parallel out"):
        forecasted(replace(OPTIONS, **changes), Asked(auto=True))
    assert asked == []


def test_a_forecast_needs_the_rate_of_the_link(asked: list[Any]) -> None:
    with pytest.raises(UsageError, match="--bandwidth"):
        forecasted(replace(OPTIONS, bandwidth_bps=None), Asked(auto=True))


def test_a_guests_forecast_is_no_domains(asked: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(forecast(mode("pagethrift")).to_json())
    with pytest.raises(UsageError, match="forecast --domain"):
        forecasted(OPTIONS, Asked(file=path))
