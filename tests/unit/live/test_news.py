"""A source is asked one question at a time; news end a wait early."""

from __future__ import annotations

import asyncio
import time

from pagethrift.errors import QmpError
from pagethrift.live.news import SILENT_S, Poll, heard, relay_reports
from pagethrift.live.watch import Watch
from pagethrift.model.relay_protocol import RelayState, RelayStatus


def test_news_are_heard_once() -> None:
    async def run() -> None:
        news = asyncio.Event()
        news.set()
        await heard(news, 60.0)
        assert not news.is_set()
        await heard(news, 0.01)

    asyncio.run(asyncio.wait_for(run(), 30.0))


def test_what_the_relay_reports_is_news() -> None:
    watch, news = Watch(time.monotonic(), 0.3, None, True), asyncio.Event()
    status = RelayStatus(RelayState.RAM, in_bytes=7)
    relay_reports(watch, news)(status)
    assert watch.relay is status
    assert news.is_set()


def test_the_next_question_waits_for_the_answer() -> None:
    """A QEMU that is busy is not asked again meanwhile, and its silence is said after a while."""

    async def run() -> None:
        asked, answer, taken = list[int](), asyncio.Event(), asyncio.Event()

        async def ask() -> int:
            asked.append(len(asked))
            await answer.wait()
            return asked[-1]

        async def take(number: int) -> None:
            assert number == asked[-1]
            assert poll.asked_s is None
            answer.clear()
            taken.set()

        poll = Poll(ask, take)
        assert not poll.ended
        poll.start()
        await asyncio.sleep(0.3)
        assert asked == [0]
        assert poll.asked_s is not None
        assert poll.silent_s(poll.asked_s + SILENT_S - 0.1) == 0
        assert poll.silent_s(poll.asked_s + SILENT_S + 1) == SILENT_S + 1
        for number in range(2):
            answer.set()
            await taken.wait()
            assert poll.silent_s(time.monotonic() + 60) == 0
            taken.clear()
            poll.at_once()
            while len(asked) == number + 1:
                await asyncio.sleep(0.001)
        assert not poll.ended
        await poll.stop()
        assert poll.ended

    asyncio.run(asyncio.wait_for(run(), 30.0))


def test_what_ends_the_questions_is_kept() -> None:
    async def run() -> None:
        gone = QmpError("gone")

        async def ask() -> None:
            raise gone

        async def take(_: None) -> None:
            raise AssertionError("there was no answer")

        poll = Poll(ask, take)
        poll.start()
        while not poll.ended:
            await asyncio.sleep(0)
        assert poll.error is gone
        await poll.stop()

    asyncio.run(asyncio.wait_for(run(), 30.0))
