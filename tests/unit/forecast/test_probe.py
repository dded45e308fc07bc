"""Watching a guest: what the recorder is asked for, what a forecast says of it, and Ctrl-C meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.forecast import probe
from pagethrift.forecast.core import Subject
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.probe import Probe, forecast_guest
from pagethrift.live.dry_run import QmpGuest, Watched
from pagethrift.live.recording import RecordOptions
from pagethrift.model.forecast import Forecast
from pagethrift.trace.format import TraceHeader
from pagethrift.trace.synthetic import Load
from tests.forecasts import forecast
from tests.traces import made

SETTINGS = ForecastSettings(12.5e6)


class Recorder:
    """Copies a synthetic trace to where the recording is to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.header = replace(made(folder, Load.IDLE).header, recorded_unix_s=5000.0, warnings=("odd",))
        self.trace = folder / "idle.parquet"
        self.options: list[RecordOptions] = []
        self.guests: list[Watched] = []
        self.waits = asyncio.Event()
        self.ends: Callable[[], TraceHeader] | None = None
        self.subjects: list[Subject] = []
        monkeypatch.setattr(probe, "record", self)
        monkeypatch.setattr(probe, "forecast_trace", self.simulated)

    async def __call__(
        self, guest: Watched, options: RecordOptions, progress: Callable[[Any], None]
    ) -> TraceHeader:
        self.guests.append(guest)
        self.options.append(options)
        shutil.copy(self.trace, options.out)
        if self.ends is not None:
            self.waits.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return self.ends()
        return self.header

    async def simulated(self, path: Path, settings: ForecastSettings, subject: Any, *_: object) -> Forecast:
        assert path.read_bytes() == self.trace.read_bytes()
        assert settings == SETTINGS
        self.subjects.append(subject(None))
        return forecast()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    return Recorder(monkeypatch, tmp_path)


def test_a_guest_is_recorded_into_a_folder_that_is_gone_afterwards(recorder: Recorder) -> None:
    assert asyncio.run(forecast_guest(Probe(QmpGuest("/run/vm1.qmp"), 3.0), SETTINGS)) == forecast()
    (options,) = recorder.options
    assert (recorder.guests, options.seconds) == ([QmpGuest("/run/vm1.qmp")], 3.0)
    assert options.idle_counts
    assert options.whole
    assert not options.out.parent.exists()
    (subject,) = recorder.subjects
    assert (subject.guest, subject.recorded_unix_s, subject.warnings) == ("vm1.qmp", 5000.0, ("odd",))
    assert "migration without a destination" in subject.cost.what
    assert "cancelled" in subject.cost.what


@pytest.mark.parametrize("said", ["", "domain g is paused now"])
def test_a_recording_that_is_broken_off_is_no_forecast(recorder: Recorder, said: str) -> None:
    def ends() -> TraceHeader:
        raise asyncio.CancelledError(said)

    recorder.ends = ends

    async def cancelled() -> None:
        task = asyncio.ensure_future(forecast_guest(Probe(QmpGuest("/run/vm1.qmp")), SETTINGS))
        await recorder.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError, match=said or "the guest runs on"):
            await task

    asyncio.run(cancelled())
    assert recorder.subjects == []
    assert not recorder.options[0].out.parent.exists()


def test_other_refusals_stay_what_they_are(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(*_: object) -> TraceHeader:
        raise UsageError("no such socket")

    monkeypatch.setattr(probe, "record", refuses)
    with pytest.raises(UsageError, match="no such socket"):
        asyncio.run(forecast_guest(Probe(QmpGuest("/run/vm1.qmp")), SETTINGS))
