"""What is refused before a migration, and what is set for it at both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.preflight import check_source, pending_of_bitmaps, prepare_destination, prepare_source
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from tests.unit.live.monitors import fake_monitor, greeting

KNOWN = (
    "xbzrle", "postcopy-ram", "compress", "mapped-ram", "background-snapshot", "pause-before-switchover",
    "multifd", "return-path", "events", "auto-converge",
)  # fmt: skip
Work = Callable[[QmpMonitor, BorrowedSettings], Awaitable[Any]]


def with_qemu(
    folder: Path,
    work: Work,
    on: tuple[str, ...] = (),
    parameters: dict[str, Any] | None = None,
    guest: str = "running",
    migration: str | None = None,
    **answers: Any,
) -> tuple[Any, list[tuple[str, Any]]]:
    """Do ``work`` with a QEMU in that state; return its value and the commands that set something."""
    answers |= {
        "query-status": {"status": guest},
        "query-migrate": {} if migration is None else {"status": migration},
        "query-migrate-capabilities": [{"capability": name, "state": name in on} for name in KNOWN],
        "query-migrate-parameters": parameters or {},
    }
    asked: list[tuple[str, Any]] = []

    async def run() -> Any:
        async with fake_monitor(folder / "qmp", greeting(10, 0), answers, asked=asked):
            monitor = await QmpMonitor.connect(str(folder / "qmp"))
            try:
                return await work(monitor, await BorrowedSettings.of(monitor))
            finally:
                await monitor.close()

    value = asyncio.run(run())
    return value, [each for each in asked if each[0].startswith("migrate-set")]


def checked(
    folder: Path,
    *,
    read_here: bool = True,
    multifd_set: bool = False,
    link_encrypted: bool = False,
    whole_pages: bool = False,
    **state: Any,
) -> str:
    async def check(monitor: QmpMonitor, settings: BorrowedSettings) -> str:
        return await check_source(
            monitor,
            settings,
            read_here=read_here,
            multifd_set=multifd_set,
            link_encrypted=link_encrypted,
            whole_pages=whole_pages,
        )

    value, changes = with_qemu(folder, check, **state)
    assert changes == []
    assert isinstance(value, str)
    return value


@pytest.mark.parametrize("migration", [None, "none", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("guest", ["running", "paused"])
def test_a_guest_that_can_be_migrated(tmp_path: Path, guest: str, migration: str | None) -> None:
    assert checked(tmp_path, guest=guest, migration=migration) == guest


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"guest": "postmigrate"}, "its guest is postmigrate"),
        ({"guest": "inmigrate"}, "its guest is inmigrate"),
        ({"migration": "active"}, "a migration is running"),
        ({"migration": "postcopy-paused"}, "a migration is running"),
        ({"on": ("xbzrle", "events"), "whole_pages": True}, "capability xbzrle is on"),
        ({"on": ("compress", "postcopy-ram")}, "capability postcopy-ram, compress is on"),
        ({"on": ("mapped-ram",), "read_here": False}, "capability mapped-ram is on"),
        ({"on": ("background-snapshot",), "read_here": False}, "capability background-snapshot is on"),
        ({"on": ("pause-before-switchover",), "read_here": False}, "pause-before-switchover is on"),
        ({"parameters": {"tls-creds": "tls0"}}, "tls-creds is set"),
        (
            {"on": ("multifd",), "parameters": {"multifd-compression": "qpl"}},
            "is qpl, .* none, zlib",
        ),
    ],
)
def test_what_cannot_be_migrated_now(tmp_path: Path, state: dict[str, Any], says: str) -> None:
    with pytest.raises(QmpError, match=says) as caught:
        checked(tmp_path, **state)
    assert str(caught.value).startswith(f"source {tmp_path}/qmp: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "state",
    [
        {"on": ("xbzrle", "postcopy-ram", "compress"), "read_here": False},
        {"parameters": {"tls-creds": "tls0"}, "read_here": False},
        {"parameters": {"tls-creds": ""}},
        {"parameters": {"tls-creds": "tls0"}, "link_encrypted": True},
        {"on": ("multifd",), "parameters": {"multifd-compression": "none"}},
        {"on": ("multifd",), "parameters": {"multifd-compression": "zlib"}},
        {"on": ("multifd",), "parameters": {"multifd-compression": "zstd"}},
        {"on": ("xbzrle", "events")},
        {"parameters": {"multifd-compression": "qpl"}},
        {"on": ("multifd",), "parameters": {"multifd-compression": "qpl"}, "read_here": False},
        {"on": ("multifd",), "parameters": {"multifd-compression": "qpl"}, "multifd_set": True},
    ],
    ids=[
        "QEMU's own features",
        "TLS end to end",
        "no TLS",
        "TLS from the relay on",
        "uncompressed",
        "zlib",
        "zstd",
        "xbzrle",
        "multifd off",
        "plain",
        "set by us",
    ],
)
def test_what_does_no_harm(tmp_path: Path, state: dict[str, Any]) -> None:
    assert checked(tmp_path, **state) == "running"


def prepared(
    folder: Path,
    at_source: bool,
    on: tuple[str, ...] = (),
    parameters: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return what is set for a migration, by QEMU's names."""
    wanted = MigrateOptions("/qmp", "host:1", **options)

    async def prepare(monitor: QmpMonitor, settings: BorrowedSettings) -> None:
        if at_source:
            await prepare_source(settings, wanted)
        else:
            await prepare_destination(settings, wanted, None)

    _, changes = with_qemu(folder, prepare, on=on, parameters=parameters)
    found: dict[str, Any] = {}
    for command, arguments in changes:
        if command == "migrate-set-capabilities":
            found |= {each["capability"]: each["state"] for each in arguments["capabilities"]}
        else:
            found |= arguments
    return found


OURS = {"return-path": True, "events": True}
FOUR = PlainFeatures(multifd_channels=4, multifd_compression="none")
OFF = {"xbzrle": False, "auto-converge": False, "postcopy-ram": False, "multifd": False}


def test_a_relayed_source_is_not_slowed_down_and_sends_no_compressed_pages(tmp_path: Path) -> None:
    assert prepared(tmp_path, True) == OURS | {"max-bandwidth": 0}
    assert prepared(tmp_path, True, features=FOUR) == OURS | {
        "max-bandwidth": 0, "multifd": True, "multifd-channels": 4, "multifd-compression": "none",
    }  # fmt: skip


@pytest.mark.parametrize(("present", "changed"), [("tls0", {"tls-creds": ""}), ("", {})])
def test_a_source_with_tls_speaks_plainly_to_a_relay_that_encrypts(
    tmp_path: Path, present: str, changed: dict[str, Any]
) -> None:
    found = prepared(tmp_path, True, parameters={"tls-creds": present}, tls_folder=Path("/etc/pki"))
    assert found == OURS | {"max-bandwidth": 0} | changed


def test_a_plain_source_has_the_features_asked_for_and_no_others(tmp_path: Path) -> None:
    assert prepared(tmp_path, True, plain=True) == OURS | OFF
    features = PlainFeatures(
        xbzrle_cache_bytes=4096, auto_converge=True, post_copy=True, multifd_channels=2,
        multifd_compression="zstd", max_bandwidth_bps=1000,
    )  # fmt: skip
    assert prepared(tmp_path, True, plain=True, features=features) == OURS | {
        "xbzrle": True, "xbzrle-cache-size": 4096, "auto-converge": True, "postcopy-ram": True,
        "multifd": True, "multifd-channels": 2, "multifd-compression": "zstd", "max-bandwidth": 1000,
    }  # fmt: skip


def test_a_destination_behind_the_relay_listens_on_one_socket(tmp_path: Path) -> None:
    path = {"return-path": True}
    assert prepared(tmp_path, False, features=FOUR) == path
    assert prepared(tmp_path, False, on=("multifd",), features=FOUR) == path | {"multifd": False}


def test_a_plain_destination_has_the_sources_features(tmp_path: Path) -> None:
    assert prepared(tmp_path, False, plain=True, features=FOUR) == OFF | {
        "return-path": True, "multifd": True, "multifd-channels": 4, "multifd-compression": "none",
    }  # fmt: skip


def test_a_bitmap_counts_a_byte_for_each_begun_granule(tmp_path: Path) -> None:
    nodes = [
        {
            "image": {"virtual-size": 100_001},
            "dirty-bitmaps": [{"granularity": 1000}, {"granularity": 65536}],
        },
        {"image": {"virtual-size": 5000}},
        {"dirty-bitmaps": [{"granularity": 1000}]},
    ]
    answers: dict[str, Any] = {"query-named-block-nodes": nodes}
    pending, _ = with_qemu(tmp_path, lambda monitor, _: pending_of_bitmaps(monitor), **answers)
    assert pending == 101 + 2
