"""Whether a destination takes compressed channels, and what is set for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import QmpError, UsageError
from pagethrift.live.channels import prepare_channels
from pagethrift.live.destination import Destination
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from pagethrift.model.channels import CHANNELS, ChannelSettings, Compress
from tests.unit.live.monitors import fake_monitor, greeting

UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
BYTES = bytes(range(16))
SCHEMA = [
    {"name": "1", "meta-type": "enum", "values": ["zlib", "zstd"]},
    {"name": "2", "meta-type": "object", "members": [{"name": "zstd", "type": "3"}]},
]
MULTIFD_COMPRESSION = {"name": "4", "meta-type": "enum", "values": ["none", "zlib", "zstd"]}
PARAMETERS = {"multifd-channels": 2, "multifd-compression": "none", "downtime-limit": 300}


class Prepared:
    """What came of preparing a destination."""

    def __init__(
        self,
        folder: Path,
        *,
        listens: bool = False,
        on: tuple[str, ...] = (),
        known: tuple[str, ...] = ("multifd", "xbzrle"),
        parameters: dict[str, Any] = PARAMETERS,
        zstd: bool = True,
        monitor: bool = True,
        guest: Any = None,
        refusals: dict[str, list[str]] | None = None,
        **options: Any,
    ) -> None:
        self.warnings: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self._answers = {
            "query-migrate": {"status": "setup"} if listens else {},
            "query-migrate-capabilities": [{"capability": name, "state": name in on} for name in known],
            "query-migrate-parameters": parameters,
            "query-qmp-schema": [*SCHEMA, *([MULTIFD_COMPRESSION] if zstd else [])],
        }
        self._guest = {"UUID": UUID} if guest is None else guest
        self._options = MigrateOptions("/qmp", "host:1", **options)
        self._refusals = refusals
        self.settings = asyncio.run(self._run(folder, monitor))

    async def _run(self, folder: Path, with_monitor: bool) -> ChannelSettings | None:
        async with (
            fake_monitor(folder / "a", greeting(10, 0), {"query-uuid": self._guest}),
            fake_monitor(folder / "b", greeting(10, 0), self._answers, self._refusals, self.asked),
        ):
            source = await QmpMonitor.connect(str(folder / "a"))
            there = await QmpMonitor.connect(str(folder / "b"), "destination")
            try:
                destination = Destination(there) if with_monitor else None
                theirs = await BorrowedSettings.of(there) if with_monitor else None
                return await prepare_channels(self._options, source, destination, theirs, self.warnings)
            finally:
                await source.close()
                await there.close()

    @property
    def changed(self) -> dict[str, Any]:
        """What was set at the destination, by QEMU's names."""
        found: dict[str, Any] = {}
        for command, arguments in self.asked:
            if command == "migrate-set-capabilities":
                found |= {each["capability"]: each["state"] for each in arguments["capabilities"]}
            elif command == "migrate-set-parameters":
                found |= arguments
        return found


@pytest.mark.parametrize(("asked", "channels"), [(None, CHANNELS), (5, 5)])
@pytest.mark.parametrize("compress", [Compress.AUTO, Compress.ON])
def test_a_deferred_destination_is_set_up(
    tmp_path: Path, asked: int | None, channels: int, compress: Compress
) -> None:
    found = Prepared(tmp_path, channels=asked, compress=compress, window_log=22, on=("xbzrle",))
    assert found.settings == ChannelSettings(channels, BYTES, compress, window_log=22)
    assert found.changed == {
        "multifd": True, "xbzrle": False, "multifd-channels": channels, "multifd-compression": "zstd",
    }  # fmt: skip
    assert found.warnings == []


READY = PARAMETERS | {"multifd-channels": 3, "multifd-compression": "zstd"}


@pytest.mark.parametrize("asked", [None, 3])
def test_a_destination_that_listens_is_taken_as_the_operator_set_it_up(
    tmp_path: Path, asked: int | None
) -> None:
    found = Prepared(tmp_path, listens=True, on=("multifd",), parameters=READY, channels=asked)
    assert found.settings == ChannelSettings(3, BYTES)
    assert found.changed == {}


UNREADY: dict[str, tuple[dict[str, Any], str]] = {
    "no multifd": ({"known": ("xbzrle",)}, "QEMU 10.0.0 has no multifd"),
    "no compression": ({"parameters": {"multifd-channels": 2}}, "has no multifd"),
    "built without zstd": ({"zstd": False}, "that QEMU was built without zstd"),
    "listens plain": ({"listens": True, "parameters": READY}, "-incoming defer"),
    "listens uncompressed": ({"listens": True, "on": ("multifd",)}, "-incoming defer"),
    "listens for others": (
        {"listens": True, "on": ("multifd",), "parameters": READY, "channels": 4},
        "-incoming defer",
    ),
    "listens for too many": (
        {"listens": True, "on": ("multifd",), "parameters": READY | {"multifd-channels": 17}},
        "17 multifd channels.* 16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADY)
def test_a_destination_that_cannot_is_left_alone_with_a_warning(tmp_path: Path, case: str) -> None:
    state, says = UNREADY[case]
    found = Prepared(tmp_path, **state)
    assert found.settings is None
    assert found.changed == {}
    (line,) = found.warnings
    assert line.startswith(f"destination {tmp_path}/b: pages travel uncompressed, because ")
    assert says.split(".*")[0] in line
    assert says.split(".*")[-1] in line


@pytest.mark.parametrize("case", UNREADY)
def test_where_compression_was_demanded_that_is_an_error(tmp_path: Path, case: str) -> None:
    state, says = UNREADY[case]
    with pytest.raises(UsageError, match=says) as caught:
        Prepared(tmp_path, compress=Compress.ON, **state)
    assert "--compress auto or off" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"compress": Compress.OFF},
        {"plain": True},
        {"strategy": "kvm-default"},
        {"plain": True, "strategy": "?"},
    ],
    ids=str,
)
def test_who_does_not_compress_asks_nothing_and_changes_nothing(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    found = Prepared(tmp_path, **options)
    assert found.settings is None
    assert found.changed == {}
    assert found.warnings == []
    assert "query-qmp-schema" not in dict(found.asked)


def test_channels_that_are_asked_for_are_opened_whatever_the_strategy_sends(tmp_path: Path) -> None:
    found = Prepared(tmp_path, strategy="kvm-default", channels=2)
    assert found.settings == ChannelSettings(2, BYTES)


def test_without_a_destination_monitor_channels_are_as_told(tmp_path: Path) -> None:
    found = Prepared(tmp_path, monitor=False, channels=4, window_log=21)
    assert found.settings == ChannelSettings(4, BYTES, window_log=21)
    assert found.warnings == []


def test_without_a_destination_monitor_and_channels_pages_travel_plain(tmp_path: Path) -> None:
    found = Prepared(tmp_path, monitor=False)
    assert (found.settings, found.warnings) == (None, [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"monitor": False}, "--channels"),
        ({"strategy": "kvm-default"}, "kvm-default"),
    ],
)
def test_compression_that_is_demanded_is_not_left_out_silently(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Prepared(tmp_path, compress=Compress.ON, **options)


@pytest.mark.parametrize("guest", [{"UUID": "?"}, {}, {"UUID": None}])
def test_a_source_without_a_uuid_is_refused_with_the_way_out(tmp_path: Path, guest: Any) -> None:
    with pytest.raises(QmpError, match="query-uuid told no UUID; use --compress off"):
        Prepared(tmp_path, guest=guest)


def test_a_destination_that_refuses_what_it_offers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="not today"):
        Prepared(tmp_path, refusals={"migrate-set-capabilities": ["not today"]})


def test_plain_features_of_multifd_do_not_matter(tmp_path: Path) -> None:
    found = Prepared(tmp_path, features=PlainFeatures(multifd_channels=8))
    assert found.settings == ChannelSettings(CHANNELS, BYTES)
