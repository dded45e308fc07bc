"""Forecasts of synthetic guests of 16 MiB, on a link that sends them once in 1.4 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagethrift.errors import UsageError
from pagethrift.forecast.candidates import Candidate, candidates
from pagethrift.forecast.core import Subject, forecasting, judged
from pagethrift.forecast.measured import Family, errors
from pagethrift.forecast.play import ForecastSettings, Played, Task
from pagethrift.forecast.work import forecast_here
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.model.forecast import Converges, Forecast, ModeForecast
from pagethrift.trace.read import Trace
from pagethrift.trace.synthetic import Load
from tests.traces import made

LINK_BPS = 12.5e6
SUBJECT = Subject("vm1", 1000.0)
PLAIN = Candidate("plain", "kvm-default", Family.PLAIN, "--plain", features=PlainFeatures())


def forecast(trace: Trace, bandwidth_bps: float = LINK_BPS, **settings: Any) -> Forecast:
    return forecast_here(trace, ForecastSettings(bandwidth_bps, **settings), SUBJECT)


def of(made_: Forecast, name: str) -> ModeForecast:
    found = made_.mode(name)
    assert found is not None
    return found


@pytest.mark.usefixtures("few")
def test_an_idle_guest_needs_one_pass_in_every_mode(tmp_path: Path) -> None:
    found = forecast(made(tmp_path, Load.IDLE))
    assert {each.name: each.converges for each in found.modes if not each.caution} == dict.fromkeys(
        ("pagethrift", "pagethrift, plain pages", "plain", "xbzrle:64MiB"), Converges.YES
    )
    plain = of(found, "plain").total_time_s
    assert plain is not None
    assert 1.2 < plain.median < 1.7
    assert found.recommendation.name
    assert (found.guest, found.recorded_unix_s, found.expires_unix_s) == ("vm1", 1000.0, 1600.0)
    assert found.used_bytes == found.ram_bytes == 4096 * 4096


@pytest.mark.usefixtures("few")
def test_intervals_are_ordered_and_only_a_relay_costs(tmp_path: Path) -> None:
    found = forecast(made(tmp_path, Load.COUNTERS, writes_per_s=500.0))
    for mode in found.modes:
        for interval in (mode.total_time_s, mode.downtime_s, mode.data_bytes):
            assert interval is not None
            assert 0 < interval.low <= interval.median <= interval.high
            assert interval.low < interval.high
        assert (mode.relay_cpu_s is None) == (mode.relay_peak_rss_bytes is None) == mode.plain
    assert of(found, "pagethrift").channels == 2


@pytest.mark.usefixtures("few")
def test_deltas_make_the_difference_between_converging_and_not(tmp_path: Path) -> None:
    found = forecast(made(tmp_path, Load.COUNTERS, writes_per_s=6000.0))
    assert of(found, "plain").converges is Converges.NO
    assert of(found, "plain").total_time_s is None
    assert of(found, "pagethrift").converges is Converges.YES
    assert found.recommendation.name.startswith("pagethrift")


@pytest.mark.long
@pytest.mark.usefixtures("few")
def test_a_guest_that_outruns_the_link_is_recommended_nothing(tmp_path: Path) -> None:
    found = forecast(made(tmp_path, Load.UNIFORM, writes_per_s=20_000.0), LINK_BPS / 2)
    assert {of(found, name).converges for name in ("pagethrift", "plain")} == {Converges.NO}
    assert of(found, "post-copy").converges is not Converges.NO
    assert found.recommendation.name == ""
    assert "No mode is sure to converge" in found.recommendation.reason
    forced = forecast(made(tmp_path, Load.UNIFORM, writes_per_s=20_000.0), LINK_BPS / 2, force_after_s=10.0)
    plain = of(forced, "plain")
    assert plain.converges is Converges.NO
    assert plain.total_time_s is not None
    assert plain.total_time_s.low > 10.0


@pytest.mark.usefixtures("few")
def test_more_bandwidth_never_takes_longer(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ZIPF, writes_per_s=800.0)
    slower, faster = forecast(trace), forecast(trace, 2 * LINK_BPS)
    for mode in slower.modes:
        if mode.total_time_s is not None:
            quicker = of(faster, mode.name).total_time_s
            assert quicker is not None
            assert quicker.median < mode.total_time_s.median


@pytest.mark.usefixtures("few")
def test_an_uncertain_link_makes_the_interval_wider(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE)
    sure, unsure = (of(forecast(trace, bandwidth_spread=spread), "plain") for spread in (0.0, 0.4))
    assert sure.total_time_s is not None
    assert unsure.total_time_s is not None
    assert unsure.total_time_s.high > 1.1 * sure.total_time_s.high
    assert unsure.total_time_s.low < 0.9 * sure.total_time_s.low


@pytest.mark.long
@pytest.mark.usefixtures("few")
def test_the_curve_finds_the_link_below_which_a_mode_does_not_converge(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.COUNTERS, writes_per_s=3000.0)
    found = forecast(trace, curve=True)
    plain, ours = of(found, "plain"), of(found, "pagethrift")
    assert plain.converges_from_bps is not None
    assert ours.converges_from_bps is None or ours.converges_from_bps < plain.converges_from_bps
    bandwidths = [point.bandwidth_bps for point in plain.curve]
    assert bandwidths == sorted(bandwidths)
    below = max(each for each in bandwidths if each < plain.converges_from_bps)
    assert plain.converges_from_bps / below < 1.06
    assert of(forecast(trace), "plain").curve == ()


def test_every_applicable_mode_is_asked_for(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE)
    tasks = next(forecasting(trace, ForecastSettings(LINK_BPS), SUBJECT))
    names = {task.candidate.name for task in tasks}
    assert {"pagethrift", "plain", "xbzrle:64MiB", "post-copy", "auto-converge", "xen", "thesis"} <= names
    assert not names & {"wang", "thesis-literal", "kvm-default"}
    begins = {task.begin_s for task in tasks if task.candidate.name == "plain"}
    assert len(begins) == 24
    assert 0 < min(begins) < max(begins) < trace.duration_s
    rates = [task.bandwidth_bps / LINK_BPS for task in tasks]
    assert 0.95 <= min(rates) < 0.97
    assert 1.03 < max(rates) <= 1.05
    plain_only = next(forecasting(trace, ForecastSettings(LINK_BPS, channels=False, relayed=True), SUBJECT))
    assert not any(task.candidate.plain or task.candidate.channels for task in plain_only)


@pytest.mark.parametrize(
    "settings",
    [{"bandwidth_bps": 0.0}, {"bandwidth_spread": 1.0}, {"downtime_limit_s": 0.0}, {"force_after_s": 0.0}],
)
def test_impossible_settings_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        next(forecasting(made(tmp_path), replace(ForecastSettings(LINK_BPS), **settings), SUBJECT))


def fate(converged: bool, total_s: float = 10.0, completed: bool = True) -> tuple[Task, Played]:
    task = Task(PLAIN, LINK_BPS, 0.0, 0.3, 60.0)
    return task, Played(completed, converged, total_s, 0.3, 10**8, 20_000, 0, 16_000.0)


@pytest.mark.parametrize(
    ("converged", "of_", "answer"),
    [(10, 10, "yes"), (9, 10, "yes"), (8, 10, "perhaps"), (2, 10, "perhaps"), (1, 10, "no"), (0, 10, "no")],
)
def test_the_answer_is_a_share_of_the_simulations(converged: int, of_: int, answer: str) -> None:
    pairs = [fate(number < converged, completed=number < converged) for number in range(of_)]
    found = judged(PLAIN, pairs)
    assert (found.converged, found.simulated, found.converges) == (converged, of_, answer)


def test_where_the_simulator_is_often_wrong_it_is_never_sure() -> None:
    throttled = next(each for each in candidates(1000) if each.name == "auto-converge")
    assert judged(throttled, [fate(True)] * 3).converges is Converges.PERHAPS
    assert judged(throttled, [fate(False, completed=False)] * 3).converges is Converges.NO


def test_what_was_measured_corrects_and_widens() -> None:
    found = judged(PLAIN, [fate(True)])
    wrong = errors(Family.PLAIN)
    assert found.total_time_s is not None
    assert found.downtime_s is not None
    expected = 10.0 * np.array([wrong.total_time[0], np.median(wrong.total_time), wrong.total_time[-1]])
    assert [found.total_time_s.low, found.total_time_s.median, found.total_time_s.high] == pytest.approx(
        expected
    )
    assert found.downtime_s.high == pytest.approx(0.3 + wrong.downtime_s[-1])
    forced = judged(PLAIN, [fate(False)])
    assert forced.total_time_s is not None
    assert (forced.total_time_s.low, forced.total_time_s.high) == (10.0, 10.0), (
        "the deadline is the operator's"
    )
