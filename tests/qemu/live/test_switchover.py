"""HOLD and GO by version, and the operator's values afterwards."""

from __future__ import annotations

import asyncio

import pytest

from pagethrift.live.qmp import QmpMonitor, Version
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.switchover import Switchover, switchover_settings
from tests.qemu.live.pair import Pair


@pytest.mark.parametrize("version", [(7, 2, 22), (8, 1, 5), (8, 2, 0), (9, 0, 0), (10, 0, 2)])
def test_hold_is_a_small_threshold_but_never_zero(version: Version) -> None:
    hold = switchover_settings(version).hold
    assert hold["downtime-limit"] == 1
    if version >= (8, 2, 0):  # QEMU computes bandwidth // 1000 * limit_ms
        assert hold["avail-switchover-bandwidth"] // 1000 * hold["downtime-limit"] == 1
    else:
        assert "avail-switchover-bandwidth" not in hold


@pytest.mark.parametrize("version", [(7, 2, 22), (8, 2, 0), (10, 0, 2)])
def test_go_is_within_qemus_range_and_covers_any_guest(version: Version) -> None:
    go = switchover_settings(version).go
    assert go["downtime-limit"] == 2_000_000
    if "avail-switchover-bandwidth" in go:
        assert go["avail-switchover-bandwidth"] // 1000 * go["downtime-limit"] > 2**50


@pytest.mark.qemu
def test_operators_values_come_back(pair: Pair) -> None:
    pair.source.qmp.execute("migrate-set-parameters", **{"downtime-limit": 777})

    async def borrow() -> None:
        monitor = await QmpMonitor.connect(pair.options().source_qmp)
        settings = await BorrowedSettings.of(monitor)
        switchover = Switchover(settings, monitor.version)
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
