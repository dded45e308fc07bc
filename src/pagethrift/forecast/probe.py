"""Watching a live guest for a forecast: a short dry migration into a recorder; nothing moves."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pagethrift.forecast.core import Subject
from pagethrift.forecast.play import ForecastSettings
from pagethrift.forecast.work import Simulated, forecast_trace
from pagethrift.live.dry_run import Watched
from pagethrift.live.recorder import record
from pagethrift.live.recording import RecordOptions, RecordProgress
from pagethrift.model.forecast import Cost, Forecast
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.trace.format import TraceHeader
from pagethrift.trace.read import Trace
from pagethrift.units import format_bytes

SECONDS = 20.0
INTERRUPTED = "nothing was moved: the guest runs on, and its QEMU's settings are as before"


@dataclass(frozen=True, slots=True)
class Probe:
    """Which guest to watch, and for how long."""

    guest: Watched
    seconds: float = SECONDS
    """after the first pass over all memory"""


async def forecast_guest(
    probe: Probe,
    settings: ForecastSettings,
    watched: Callable[[RecordProgress], None] = lambda _: None,
    simulated: Callable[[Simulated], None] = lambda _: None,
) -> Forecast:
    """Watch a running guest and return the forecast of its migration; the guest and its QEMU are as before.

    Cancelling the task ends everything and puts QEMU's settings back. Raises UsageError, QmpError, VirtError,
    LinkError.
    """
    settings.check()
    with tempfile.TemporaryDirectory(prefix="pagethrift-forecast-") as folder:
        path = Path(folder) / "guest.parquet"
        began_s = time.monotonic()
        options = RecordOptions(path, probe.seconds, idle_counts=True, whole=True)
        header = await _recorded(probe.guest, options, watched)
        logged_s = time.monotonic() - began_s
        subject = Subject(probe.guest.name, header.recorded_unix_s, _cost(header, logged_s), header.warnings)
        return await forecast_trace(path, settings, lambda _: subject, simulated)


async def forecast_file(
    path: Path, settings: ForecastSettings, simulated: Callable[[Simulated], None] = lambda _: None
) -> Forecast:
    """Return the forecast for a guest that was recorded before. Raises UsageError."""

    def subject(trace: Trace) -> Subject:
        return Subject(trace.name, trace.header.recorded_unix_s, warnings=trace.header.warnings)

    return await forecast_trace(path, settings, subject, simulated)


async def _recorded(
    guest: Watched, options: RecordOptions, watched: Callable[[RecordProgress], None]
) -> TraceHeader:
    """Record. Raises CancelledError with where the guest is then."""
    try:
        header = await record(guest, options, watched)
    except asyncio.CancelledError as error:
        raise asyncio.CancelledError(str(error) or INTERRUPTED) from None
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError(INTERRUPTED)
    return header


def _cost(header: TraceHeader, logged_s: float) -> Cost:
    read_pages = sum(sweep.rows for sweep in header.sweeps)
    return Cost(
        logged_s=round(logged_s, 1),
        what=(
            f"QEMU ran a migration without a destination, read its dirty log {len(header.sweeps)} times and"
            f" copied {format_bytes(read_pages * PAGE_BYTES)} of pages to this process, which kept numbers"
            " and sizes only; then it was cancelled, and all settings were put back"
        ),
    )
