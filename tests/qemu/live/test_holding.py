"""Rows that hold pages, between two real QEMUs: RAM is equal and pages did wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pagethrift.live.migrate import migrate
from pagethrift.model.channels import Compress
from pagethrift.model.result import MigrationResult, Outcome
from tests.qemu.live.pair import After, Pair, slow_link
from tests.qemu.machines import differing_pages


def through_slow_link(pair: Pair, decider: After | None = None, **changes: Any) -> MigrationResult:
    async def run() -> MigrationResult:
        async with slow_link(pair) as options:
            return await migrate(replace(options, **changes), decider=decider)

    return asyncio.run(run())


@pytest.mark.parametrize("name", ["xen", "hu", "lin", "tpo", "pagethrift"])
def test_held_pages_arrive(pair: Pair, name: str) -> None:
    result = through_slow_link(
        pair,
        After(round=6),
        strategy=name,
        start_destination=False,
        force_after_s=30.0,
        bandwidth_bps=8 << 20,
        compress=Compress.OFF,  # compressed, rounds are too short for pages to be hot in three of them
    )
    assert result.outcome is Outcome.COMPLETED
    held = [record.held_pages for record in result.rounds]
    print(name, held)
    assert max(held) > 0
    assert held[0] == held[-1] == 0
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []


def test_another_rows_stop_rule(pair: Pair) -> None:
    result = through_slow_link(
        pair, stop="xen-libxl", parameters={"rounds": 3, "margin": 0.5}, force_after_s=30.0
    )
    assert result.switchover_reason == "3 rounds done"
    assert result.parameters["margin"] == 0.5
    assert result.parameters["stop"] == "xen-libxl"
    assert (result.parameters["stop.rounds"], result.parameters["stop.pages"]) == (3, 50)
