"""A guest that powers itself off midway: what is said of it is so; numbers are those of docs/faults.md."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.errors import SourceEnded
from pagethrift.live.migrate import migrate
from pagethrift.model.channels import Compress
from pagethrift.model.result import MigrationResult, Outcome
from tests.qemu.live.pair import After, Pair, running_pair, slow_link
from tests.qemu.machines import QemuLike

POWER_OFF = {True: "o /w 0x604 0x2000", False: "o /b 0x605 0x20"}
"""ACPI's sleep enable into PM1a_CNT, as a guest's kernel writes it, for QEMUs before 11 and others: 7.2
ignores the byte, and the monitor of 11.1 writes half of the word"""


async def powered_off(pair: Pair, how: str) -> MigrationResult:
    """Migrate, and let the guest or its operator switch the machine off in the second pass."""
    async with slow_link(pair) as options:
        options = replace(options, compress=Compress.OFF)  # else nothing may be left to send before that
        task = asyncio.create_task(migrate(options, decider=After(round=None)))
        while pair.source.qmp.execute("query-migrate").get("ram", {}).get("dirty-sync-count", 0) < 2:
            await asyncio.sleep(0.02)
        if how == "guest-shutdown":
            older = pair.source.qmp.execute("query-version")["qemu"]["major"] < 11
            pair.source.qmp.command("human-monitor-command", {"command-line": POWER_OFF[older]})
        else:
            pair.source.qmp.execute("quit")
        return await task


@pytest.mark.parametrize("how", ["guest-shutdown", "host-qmp-quit"])
def test_4_with_its_guest_the_source_ends(pair: Pair, how: str) -> None:
    line = rf"the source QEMU ended \({how}\), and its guest with it"
    with pytest.raises(SourceEnded, match=line) as caught:
        asyncio.run(powered_off(pair, how))
    assert caught.value.exit_code == 9
    assert "runs" not in str(caught.value)


def test_4_a_machine_that_stays_is_moved_switched_off(binary: QemuLike, folder: Path) -> None:
    """With -no-shutdown the source keeps the guest, which nobody may start again by accident."""
    with running_pair(binary, folder, extra=("-no-shutdown",)) as pair:
        result = asyncio.run(powered_off(pair, "guest-shutdown"))
        assert result.outcome is Outcome.COMPLETED
        assert result.downtime_s is None
        assert any("the guest was powered off (guest-shutdown)" in each for each in result.warnings)
        assert "running" not in pair.states()
        assert pair.source.qmp.execute("query-status")["status"] == "postmigrate"
