"""Work that is carried through although its task is being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from pagethrift.live.undisturbed import undisturbed


def test_every_cancellation_waits_for_the_works_value() -> None:
    async def run() -> None:
        go = asyncio.Event()

        async def work() -> str:
            await go.wait()
            return "done"

        task = asyncio.ensure_future(undisturbed(work()))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        go.set()
        assert await task == "done"

    asyncio.run(run())


def test_a_fault_of_the_work_is_raised_also_after_a_cancellation() -> None:
    async def run(cancelled: bool) -> None:
        go = asyncio.Event()

        async def work() -> None:
            await go.wait()
            raise ValueError("broken")

        task = asyncio.ensure_future(undisturbed(work()))
        await asyncio.sleep(0)
        if cancelled:
            task.cancel()
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(ValueError, match="broken"):
            await task

    for cancelled in (False, True):
        asyncio.run(run(cancelled))


def test_work_that_cancels_itself_ends() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(undisturbed(work()), 5)

    asyncio.run(run())
