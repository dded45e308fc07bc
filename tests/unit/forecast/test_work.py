"""Forecasts on processes: the same as in one process, and an end when they are not wanted any more."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.forecast import work
from pagethrift.forecast.core import Subject
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import forecast_file
from pagethrift.forecast.work import Simulated, forecast_here, forecast_trace
from pagethrift.trace.synthetic import Load
from tests.traces import made

SETTINGS = ForecastSettings(12.5e6)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few")]


def test_processes_make_the_same_forecast(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE)
    looks: list[Simulated] = []
    found = asyncio.run(forecast_file(tmp_path / "idle.parquet", SETTINGS, looks.append))
    assert found == forecast_here(trace, SETTINGS, Subject("idle.parquet", 0.0))
    assert [look.done for look in looks] == list(range(1, 19))
    assert looks[-1].asked == 18
    assert found.cost.logged_s == 0


def test_a_cancelled_forecast_ends_its_processes(tmp_path: Path) -> None:
    made(tmp_path, Load.UNIFORM, writes_per_s=20_000.0)

    async def cancelled() -> None:
        begun = asyncio.Event()
        task = asyncio.ensure_future(
            forecast_file(tmp_path / "uniform.parquet", SETTINGS, lambda _: begun.set())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not list(tmp_path.glob("*.part"))


def test_a_killed_process_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = made(tmp_path, Load.IDLE)

    class Broken:
        def __init__(self, *_: object) -> None:
            pass

        def submit(self, *_: object) -> object:
            from concurrent.futures import Future

            future: Future[object] = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(work, "ProcessPoolExecutor", Broken)
    with pytest.raises(UsageError, match="was killed; is the machine short of memory"):
        asyncio.run(forecast_trace(tmp_path / "idle.parquet", SETTINGS, lambda _: Subject(trace.name, 0.0)))


def test_what_is_no_trace_is_refused_before_processes_start(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(os.urandom(100))
    with pytest.raises(UsageError, match="not a trace"):
        asyncio.run(forecast_file(tmp_path / "x.parquet", SETTINGS))
