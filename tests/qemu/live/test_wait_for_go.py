"""A migration that waits for the word to go: the guest runs on near its end, and leaves when it is told."""

from __future__ import annotations

import asyncio

import pytest

from pagethrift.live.handle import Handle
from pagethrift.live.migrate import migrate
from pagethrift.model.channels import Compress
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import MigrationResult, Outcome
from tests.qemu.live.pair import Pair
from tests.qemu.machines import differing_pages

pytestmark = pytest.mark.one_qemu

LIMIT_S = 30.0
"""any downtime would do: without the word it would leave after the first round"""


@pytest.mark.parametrize("plain", [False, True])
def test_it_waits_and_goes(pair: Pair, plain: bool) -> None:
    options = pair.options(
        wait_for_go=True, downtime_limit_s=LIMIT_S, start_destination=False, plain=plain, timeout_s=120.0,
        compress=Compress.OFF,
    )  # fmt: skip
    handle = Handle(options)

    async def run() -> tuple[MigrationResult, int]:
        task = asyncio.create_task(migrate(options, handle=handle))
        while handle.running.round < 3:
            assert not task.done(), task
            await asyncio.sleep(0.05)
        rounds = handle.running.round
        await asyncio.sleep(4.0)
        assert not task.done()
        assert pair.states() == ("running", "inmigrate")
        assert handle.running.waits_for_go
        more = handle.running.round - rounds
        if not plain:
            # at the beginning of each round it is unknown until QEMU has reported on that round
            while (predicted_s := handle.running.predicted_downtime_s) is None:
                assert not task.done(), task
                await asyncio.sleep(0.05)
            assert predicted_s < LIMIT_S
        await asyncio.to_thread(handle.change, Change(go=True))
        assert not handle.running.waits_for_go
        return await task, more

    result, more = asyncio.run(run())
    assert result.outcome is Outcome.COMPLETED
    assert [change.go for change in result.changes] == [True]
    assert more <= 10, "rounds are made to take a while, so that none finds nothing written"
    assert pair.states() == ("postmigrate", "paused")
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert pair.parameter("max-bandwidth") == 128 << 20, "the operator's value is back"
