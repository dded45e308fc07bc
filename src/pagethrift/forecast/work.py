"""Driving a forecast: its migrations are simulated by a process for each processor."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.forecast.core import Subject, forecasting
from pagethrift.forecast.play import ForecastSettings, Played, Task, play
from pagethrift.model.forecast import Forecast
from pagethrift.trace.read import Trace, read_trace

URGENCY = 10
"""of nice: a tenth of a processor that guests want too, so that a forecast ends on a busy host as well"""
_DIED = "a process that simulates migrations was killed; is the machine short of memory?"


@dataclass(frozen=True, slots=True)
class Simulated:
    """One look at a forecast in the making."""

    done: int
    asked: int
    """migrations asked for so far; a plot asks for more"""


def forecast_here(trace: Trace, settings: ForecastSettings, subject: Subject) -> Forecast:
    """Make a forecast in this process. Raises UsageError."""
    steps = forecasting(trace, settings, subject)
    tasks = next(steps)
    while True:
        try:
            tasks = steps.send([play(trace, task) for task in tasks])
        except StopIteration as end:
            made: Forecast = end.value
            return made


async def forecast_trace(
    path: Path,
    settings: ForecastSettings,
    subject: Callable[[Trace], Subject],
    progress: Callable[[Simulated], None] = lambda _: None,
    workers: int | None = None,
) -> Forecast:
    """Make a forecast from a trace's file, on a process for each processor, or ``workers``.

    Cancelling the task ends the processes. Raises UsageError.
    """
    settings.check()
    trace = await asyncio.to_thread(read_trace, path)
    steps = forecasting(trace, settings, subject(trace))
    tasks = next(steps)
    done = asked = 0
    with _pool(path, workers) as pool:
        while True:
            asked += len(tasks)
            futures = [asyncio.wrap_future(pool.submit(_play, task)) for task in tasks]
            try:
                for each in asyncio.as_completed(futures):
                    await each
                    done += 1
                    progress(Simulated(done, asked))
            except BrokenProcessPool as error:
                raise UsageError(_DIED) from error
            try:
                tasks = steps.send([future.result() for future in futures])
            except StopIteration as end:
                made: Forecast = end.value
                return made


@contextmanager
def _pool(path: Path, workers: int | None) -> Iterator[ProcessPoolExecutor]:
    """Have processes that have read the trace, and end them."""
    count = workers or len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")  # threads run here, and fork would copy their locks
    pool = ProcessPoolExecutor(count, context, _begin, (path,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_trace: list[Trace] = []
"""of a worker process"""


def _begin(path: Path) -> None:
    """Read the trace in a worker process. It ends with its parent, and leaves signals to it.

    Guests come first: on two processors their latencies were five times as long while a forecast was made.
    """
    os.nice(URGENCY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _trace.append(read_trace(path))


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _play(task: Task) -> Played:
    return play(_trace[0], task)
