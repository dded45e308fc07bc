"""Progress of a forecast on standard error; tests/unit/cli/test_forecast.py has the forecast itself."""

from __future__ import annotations

import pytest

from pagethrift.cli.forecast_view import Watching, shown
from pagethrift.forecast.work import Simulated
from pagethrift.live.recording import RecordProgress
from tests.forecasts import forecast


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Watching() as watching:
        for second in range(1, 13):
            watching.watched(RecordProgress(float(second), second, 100, 1000, 7))
        for done in range(1, 101):
            watching.simulated(Simulated(done, 100))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "pagethrift: watching the guest: 1 s, 7 pages in the last look",
        "pagethrift: watching the guest: 6 s, 7 pages in the last look",
        "pagethrift: watching the guest: 11 s, 7 pages in the last look",
        *(f"pagethrift: simulating: {done} of 100 migrations" for done in (25, 50, 75, 100)),
    ]


@pytest.mark.parametrize(("now_unix_s", "says"), [(1000.0, "expires in 10 min"), (1601.0, "expired")])
def test_how_long_it_holds(capsys: pytest.CaptureFixture[str], now_unix_s: float, says: str) -> None:
    shown(forecast(), now_unix_s)
    told = capsys.readouterr().out
    assert says in " ".join(told.split())
    assert "pagethrift converges from 160 Mbit/s on." in told
