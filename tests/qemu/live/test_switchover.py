"""HOLD and GO by version, and the operator's values afterwards."""

from __future__ import annotations

import asyncio

from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.switchover import Switchover
from tests.qemu.live.pair import Pair


def test_operators_values_come_back(pair: Pair) -> None:
    pair.source.qmp.execute("migrate-set-parameters", **{"downtime-limit": 777})

    async def borrow() -> None:
        monitor = await QmpMonitor.connect(pair.options().source_qmp)
        settings = await BorrowedSettings.of(monitor)
        switchover = Switchover(settings.set, monitor.version)
        await switchover.hold()
        assert pair.parameter("downtime-limit") == 1
        assert not switchover.gone
        await switchover.go()
        assert pair.parameter("downtime-limit") == 2_000_000
        assert switchover.gone
        await switchover.leave_to_qemu(0.25)
        assert pair.parameter("downtime-limit") == 250
        await settings.switch(return_path=True, auto_converge=True)
        assert await settings.restore() == ""
        assert await settings.restore() == ""
        assert await monitor.parameters() == settings.parameters
        assert await monitor.capabilities() == settings.capabilities
        await monitor.close()

    asyncio.run(borrow())
    assert pair.parameter("downtime-limit") == 777
