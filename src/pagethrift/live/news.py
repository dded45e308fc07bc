"""News of a running migration: what its relay reports, what its source answers, and waiting for either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pagethrift.live.undisturbed import called_off
from pagethrift.live.watch import Watch
from pagethrift.model.defaults import PLANNER_TICK_S
from pagethrift.model.relay_protocol import RelayStatus

T = TypeVar("T")

SILENT_S = 10.0
"""QEMU answers within milliseconds, on a busy host within a second"""


async def heard(news: asyncio.Event, timeout_s: float = PLANNER_TICK_S) -> None:
    """Return when ``news`` is set, or after a tick; it is clear then."""
    try:
        async with asyncio.timeout(timeout_s):
            await news.wait()
    except TimeoutError:
        pass
    news.clear()


def relay_reports(watch: Watch, news: asyncio.Event) -> Callable[[RelayStatus], None]:
    """Return what takes the relay's reports into ``watch`` and sets ``news``."""

    def on_relay(status: RelayStatus) -> None:
        watch.on_relay(status)
        news.set()

    return on_relay


class Poll(Generic[T]):
    """Asks a source every tick, one question at a time, and waits as long as QEMU is busy."""

    def __init__(self, ask: Callable[[], Awaitable[T]], take: Callable[[T], Awaitable[None]]) -> None:
        """``take`` is given every answer."""
        self.asked_s: float | None = None
        """since when the source owes an answer, on CLOCK_MONOTONIC"""
        self._ask = ask
        self._take = take
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run())

    def at_once(self) -> None:
        """Ask again before the tick is over."""
        self._now.set()

    @property
    def ended(self) -> bool:
        """Whether it asks no more, though nobody has stopped it."""
        return self._task is not None and self._task.done()

    @property
    def error(self) -> BaseException | None:
        """What has ended it, once it has ended."""
        return self._task.exception() if self._task is not None else None

    def silent_s(self, now_s: float) -> float:
        """Return how long the source has owed an answer; 0 while that is not worth a word."""
        silent_s = now_s - self.asked_s if self.asked_s is not None else 0.0
        return silent_s if silent_s >= SILENT_S else 0.0

    async def stop(self) -> None:
        """Ask no more."""
        await called_off(self._task)

    async def _run(self) -> None:
        while True:
            self.asked_s = time.monotonic()
            answer = await self._ask()
            self.asked_s = None
            await self._take(answer)
            await heard(self._now)
