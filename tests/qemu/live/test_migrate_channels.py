"""`migrate` with compressed channels: set up by itself, as told, or not; settings are restored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LinkError, UsageError
from pagethrift.live.migrate import migrate
from pagethrift.model.channels import Compress
from pagethrift.model.result import MigrationResult, Mode, Outcome
from tests.qemu.live.pair import After, Pair, running_pair, slow_link
from tests.qemu.live.test_migrate_multifd import capabilities, switch_on
from tests.qemu.machines import QemuLike, differing_pages

UUID = "2c7d9b1e-0f3a-4a56-9c0e-0123456789ab"


def at_destination(pair: Pair) -> dict[str, Any]:
    """The destination's settings for channels."""
    found = pair.destination.qmp.execute("query-migrate-parameters")
    return {name: found[name] for name in ("multifd-channels", "multifd-compression")}


def through_slow_link(pair: Pair, **changes: Any) -> MigrationResult:
    async def run() -> MigrationResult:
        async with slow_link(pair) as options:
            changed = replace(options, start_destination=False, **changes)
            return await migrate(changed, decider=After(round=2))

    return asyncio.run(run())


def completed(pair: Pair, result: MigrationResult) -> None:
    assert (result.mode, result.outcome) == (Mode.RELAY, Outcome.COMPLETED)
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []


def test_a_deferred_destination_is_set_up_and_set_back(pair: Pair) -> None:
    pair.destination.qmp.set_capabilities(xbzrle=True)
    before = at_destination(pair)
    result = through_slow_link(pair, channels=3, window_log=20)
    completed(pair, result)
    assert result.pages.compressed > 500
    assert result.pages.full < result.pages.compressed
    assert capabilities(pair.source) == []
    assert capabilities(pair.destination) == ["xbzrle"]
    assert at_destination(pair) == before


def test_settings_are_restored_when_the_relay_cannot_connect(pair: Pair, folder: Path) -> None:
    before = at_destination(pair)
    pair.destination.qmp.set_capabilities(xbzrle=True)
    with pytest.raises(LinkError):
        asyncio.run(migrate(pair.options(incoming_uri=f"unix:{folder}/elsewhere.sock")))
    assert pair.states() == ("running", "inmigrate")
    assert capabilities(pair.source) == []
    assert capabilities(pair.destination) == ["xbzrle"]
    assert at_destination(pair) == before


def test_without_compression_the_destination_has_one_socket(pair: Pair) -> None:
    before = at_destination(pair)
    result = through_slow_link(pair, compress=Compress.OFF)
    completed(pair, result)
    assert result.pages.compressed == 0
    assert at_destination(pair) == before


def test_channels_without_the_destinations_monitor_are_as_told(pair: Pair) -> None:
    switch_on(pair.destination, multifd_channels=2, multifd_compression="zstd")
    pair.destination.qmp.set_capabilities(return_path=True)
    options = replace(pair.options(), destination_qmp=None, channels=2, compress=Compress.ON)
    pair.destination.qmp.execute("migrate-incoming", uri=options.destination)
    result = asyncio.run(migrate(options, decider=After(round=1)))
    completed(pair, result)
    assert result.pages.compressed > 500


def test_a_destination_that_listens_already(pair: Pair) -> None:
    """It goes without, or is refused; QEMU 7.2 cannot say that it listens, and can still be set up."""
    before = at_destination(pair)
    pair.destination.qmp.execute("migrate-incoming", uri=pair.options().destination)
    says_so = pair.destination.qmp.execute("query-migrate").get("status") == "setup"
    if says_so:
        with pytest.raises(UsageError, match="start that QEMU with -incoming defer"):
            asyncio.run(migrate(pair.options(compress=Compress.ON)))
    result = asyncio.run(migrate(pair.options(start_destination=False)))
    completed(pair, result)
    assert (result.channels > 0) is not says_so
    assert any("pages travel uncompressed" in line for line in result.warnings) is says_so
    assert at_destination(pair) == before


def test_a_guest_with_a_uuid(binary: QemuLike, folder: Path) -> None:
    """QEMU compares it with what each channel says."""
    extra = ("-uuid", UUID)
    with running_pair(binary, folder, extra=extra, destination_extra=extra) as pair:
        result = asyncio.run(migrate(pair.options(start_destination=False, compress=Compress.ON)))
        completed(pair, result)
        assert result.pages.compressed > 500
