"""The monitor of a real QEMU: what it says when all is well, when it is busy, when its QEMU ends."""

from __future__ import annotations

import asyncio

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.qmp import QmpEvent, QmpMonitor
from tests.qemu.live.pair import Pair
from tests.unit.live.monitors import refused


def test_real_qemu(pair: Pair) -> None:
    async def talk() -> None:
        monitor = await QmpMonitor.connect("unix:" + pair.options().source_qmp)
        events: list[QmpEvent] = []
        monitor.on_event(events.append)
        assert monitor.version >= (7, 2, 0)
        assert monitor.peer_pid == pair.source.process.pid
        assert await monitor.query_status() == "running"
        assert "return-path" in await monitor.capabilities()
        with pytest.raises(QmpError, match=r"source .* refused migrate: ") as caught:
            await monitor.execute("migrate", {"uri": "nonsense"})
        assert "\n" not in str(caught.value)
        await monitor.execute("stop")
        await monitor.execute("cont")
        assert [event.name for event in events] == ["STOP", "RESUME"]
        assert events[0].now_s <= events[1].now_s
        await monitor.close()

    asyncio.run(talk())


def test_real_busy_monitor(pair: Pair) -> None:
    assert "one client at a time" in refused(pair.source.qmp_path)


def test_qemu_that_ends(pair: Pair) -> None:
    async def talk() -> None:
        monitor = await QmpMonitor.connect(pair.options().source_qmp)
        pair.source.process.kill()
        pair.source.process.wait()
        with pytest.raises(QmpError, match="ended or hung up"):
            await monitor.query_status()
        assert not monitor.alive
        await monitor.close()

    asyncio.run(talk())
