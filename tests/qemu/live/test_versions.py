"""Whole migrations through the relay from an older QEMU to a newer one: RAM is equal, the guest runs on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pagethrift.lab.guest.packages import QemuSeries
from pagethrift.live.migrate import migrate
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.model.result import Outcome
from tests.qemu.live.pair import After, Pair, running_pair, slow_link
from tests.qemu.machines import SERIES, QemuLike, differing_pages, find_qemu


@dataclass(frozen=True, slots=True)
class Journey:
    """From which QEMU to which, with which machine type."""

    source: QemuSeries
    destination: QemuSeries
    machine: str


JOURNEYS = (
    Journey("7.2", "10.0", "pc-i440fx-7.2"),
    Journey("7.2", "10.0", "pc-q35-7.2"),
    Journey("7.2", "11.1", "pc-q35-7.2"),
    Journey("10.0", "10.0", "pc-q35-10.0"),
    Journey("10.0", "11.1", "pc-i440fx-7.2"),
    Journey("10.0", "11.1", "pc-q35-10.0"),
    Journey("11.1", "10.0", "pc-q35-10.0"),
    Journey("11.1", "11.1", "pc-i440fx-7.2"),
    Journey("11.1", "11.1", "pc-i440fx-11.1"),
    Journey("11.1", "11.1", "pc-q35-11.1"),
)
POSSIBLE = [journey for journey in JOURNEYS if {journey.source, journey.destination} <= set(SERIES)]


def qemu_of(series: QemuSeries) -> QemuLike:
    found = find_qemu(series)
    if found is None:
        pytest.skip(f"no QEMU {series} here: pagethrift lab doctor says how to get one")
    return found


@pytest.mark.parametrize("channels", [None, 2], ids=["one socket", "multifd"])
@pytest.mark.parametrize(
    "journey", POSSIBLE, ids=lambda each: f"{each.source} to {each.destination} {each.machine}"
)
def test_ram_is_equal_and_the_guest_runs_on(journey: Journey, channels: int | None, folder: Path) -> None:
    with running_pair(
        qemu_of(journey.source),
        folder,
        machine=journey.machine,
        destination_binary=qemu_of(journey.destination),
    ) as pair:
        assert asyncio.run(_migrated(pair, channels)) is Outcome.COMPLETED
        assert pair.states() == ("postmigrate", "paused")
        assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
        sweeps = pair.destination.sweeps()
        pair.destination.qmp.execute("cont")
        pair.destination.wait_sweeps(sweeps + 2)


async def _migrated(pair: Pair, channels: int | None) -> Outcome:
    features = PlainFeatures(multifd_channels=channels)
    if channels:  # the slow link carries one connection
        options = pair.options(features=features, start_destination=False)
        return (await migrate(options, decider=After(round=3))).outcome
    async with slow_link(pair) as options:
        result = await migrate(replace(options, start_destination=False), decider=After(round=3))
        assert len(result.rounds) >= 4
        return result.outcome
