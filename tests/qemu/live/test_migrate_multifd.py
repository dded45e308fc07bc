"""`migrate` with multifd at the source: as the operator set it, or as asked; the relay ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pagethrift.live.migrate import migrate
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.model.channels import Compress
from pagethrift.model.result import MigrationResult, Mode, Outcome
from tests.qemu.live.pair import Pair, slow_link
from tests.qemu.machines import Machine, differing_pages


def capabilities(machine: Machine) -> list[str]:
    """Return what is switched on."""
    rows = machine.qmp.execute("query-migrate-capabilities")
    return [row["capability"] for row in rows if row["state"]]


def switch_on(machine: Machine, **parameters: Any) -> None:
    machine.qmp.set_capabilities(multifd=True)
    machine.qmp.execute("migrate-set-parameters", **parameters)


def test_as_asked(pair: Pair) -> None:
    options = pair.options(features=PlainFeatures(multifd_channels=3), start_destination=False)
    result = asyncio.run(migrate(options))
    assert (result.mode, result.outcome) == (Mode.RELAY, Outcome.COMPLETED)
    assert result.features == {"multifd-channels": 3, "multifd-compression": "none"}
    assert pair.source.qmp.execute("query-migrate")["ram"]["multifd-bytes"] > 1 << 20
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert capabilities(pair.source) == []
    assert pair.parameter("multifd-channels") == 2


def test_as_the_operator_set_it(pair: Pair) -> None:
    """At both ends, as for a migration without a relay: the destination gets it off and back."""
    switch_on(pair.source, multifd_channels=4)
    switch_on(pair.destination, multifd_channels=4)
    result = asyncio.run(migrate(pair.options(start_destination=False)))
    assert result.outcome is Outcome.COMPLETED
    assert pair.source.qmp.execute("query-migrate")["ram"]["multifd-bytes"] > 1 << 20
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert capabilities(pair.source) == ["multifd"]
    assert capabilities(pair.destination) == ["multifd"]
    assert pair.parameter("multifd-channels") == 4


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_as_a_manager_set_it_with_compression(pair: Pair, compression: str) -> None:
    """At both ends; the relay unpacks the pages and thins them to one plain stream."""
    for machine in (pair.source, pair.destination):
        switch_on(machine, multifd_channels=2, multifd_compression=compression)
    result = asyncio.run(migrate(pair.options(start_destination=False)))
    assert (result.mode, result.outcome) == (Mode.RELAY, Outcome.COMPLETED)
    assert pair.source.qmp.execute("query-migrate")["ram"]["multifd-bytes"] > 1 << 18
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert capabilities(pair.source) == capabilities(pair.destination) == ["multifd"]
    assert pair.parameter("multifd-compression") == compression


def test_as_a_manager_set_it_with_xbzrle(pair: Pair) -> None:
    for machine in (pair.source, pair.destination):
        machine.qmp.set_capabilities(xbzrle=True)

    async def run() -> MigrationResult:
        async with slow_link(pair) as options:
            slowly = replace(
                options, strategy="kvm-default", compress=Compress.OFF, force_after_s=12.0,
                start_destination=False,
            )  # fmt: skip
            return await migrate(slowly)

    result = asyncio.run(run())
    assert (result.mode, result.outcome) == (Mode.RELAY, Outcome.COMPLETED)
    assert pair.source.qmp.execute("query-migrate")["xbzrle-cache"]["bytes"] > 0
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert capabilities(pair.source) == capabilities(pair.destination) == ["xbzrle"]


def test_asking_overrides_the_operators_compression(pair: Pair) -> None:
    switch_on(pair.source, multifd_compression="zlib")
    result = asyncio.run(migrate(pair.options(features=PlainFeatures(multifd_channels=2))))
    assert result.outcome is Outcome.COMPLETED
    assert pair.states() == ("postmigrate", "running")
    assert pair.parameter("multifd-compression") == "zlib"
