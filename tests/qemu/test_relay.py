"""RAM compared byte by byte between two real QEMUs with the relay in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pagethrift.model.relay_protocol import RelayState
from pagethrift.strategies.base import Signing
from pagethrift.strategies.table import TABLE
from tests.qemu.machines import (
    QemuLike,
    assert_failed_and_running,
    begin,
    destination,
    differing_pages,
    finish,
    migrate,
    source,
)
from tests.qemu.relays import RelayProcess, sockets
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS

SLOW_LINK = {"max-bandwidth": 16 << 20, "downtime-limit": 1}
"""about a second a round, so that there are several"""


LIVE = [name for name, make in TABLE.items() if not make().refuses_live]


@pytest.mark.parametrize(
    ("name", "machine"),
    [*((name, "pc") for name in LIVE), *((name, "q35") for name in ("kvm-default", "thesis", "pagethrift"))],
)
def test_ram_is_equal(name: str, machine: str, qemu_binary: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_binary, PATTERNS, short_path, machine) as a,
        destination(qemu_binary, PATTERNS, short_path, machine) as b,
        RelayProcess(relay_at, incoming, "--strategy", name) as relay,
    ):
        a.wait_ready()
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters=SLOW_LINK)
        deadline_s = time.monotonic() + 2.5
        while time.monotonic() < deadline_s and a.qmp.execute("query-migrate")["status"] in (
            "setup",
            "active",
        ):
            time.sleep(0.1)
        a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
        finish(a, b)
        assert relay.wait() == 0
        status = relay.status
        assert status.state is RelayState.DONE
        assert status.retransferred_pages > 500
        if TABLE[name]().signing is not Signing.NOTHING:
            assert status.pages.skipped > 100
        if name == "pagethrift":
            assert status.pages.delta > 100
            assert status.retransferred_bytes < status.retransferred_pages * 4096 / 2
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


def test_relay_killed_midway_leaves_the_guest_running(qemu_binary: QemuLike, short_path: Path) -> None:
    """Then the same source migrates again, through a new relay, and RAM is equal."""
    relay_at, incoming = sockets(short_path)
    with source(qemu_binary, PATTERNS, short_path) as a:
        a.wait_ready()
        with (
            destination(qemu_binary, PATTERNS, short_path) as b,
            RelayProcess(relay_at, incoming) as relay,
        ):
            begin(a, b, short_path, to=relay_at, listen=incoming, parameters={"max-bandwidth": 8 << 20})
            relay.wait_for(RelayState.RAM, pages=500)
            relay.close()
            assert_failed_and_running(a)
        Path(relay_at.removeprefix("unix:")).unlink()
        with (
            destination(qemu_binary, PATTERNS, short_path) as b,
            RelayProcess(relay_at, incoming) as relay,
        ):
            migrate(
                a, b, short_path, to=relay_at, listen=incoming,
                parameters={"max-bandwidth": 0, "downtime-limit": 10_000},
            )  # fmt: skip
            assert relay.wait() == 0
            assert differing_pages(a.dump_ram(), b.dump_ram()) == []


def test_destination_dies(qemu_10: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with source(qemu_10, PATTERNS, short_path) as a, RelayProcess(relay_at, incoming) as relay:
        a.wait_ready()
        with destination(qemu_10, PATTERNS, short_path) as b:
            begin(a, b, short_path, to=relay_at, listen=incoming, parameters={"max-bandwidth": 8 << 20})
            relay.wait_for(RelayState.RAM, pages=500)
        assert relay.wait() == 4
        assert_failed_and_running(a)
        assert "the destination closed the link" in relay.close()


def test_destination_refuses_the_machine(qemu_10: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_10, PATTERNS, short_path, machine="pc") as a,
        destination(qemu_10, PATTERNS, short_path, machine="q35") as b,
        RelayProcess(relay_at, incoming) as relay,
    ):
        a.wait_ready()
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters={"max-bandwidth": 8 << 20})
        assert relay.wait() == 4
        assert_failed_and_running(a)


def test_destination_stalls(qemu_10: QemuLike, short_path: Path) -> None:
    """A destination that takes nothing is given up after the stall timeout."""
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_10, PATTERNS, short_path) as a,
        destination(qemu_10, PATTERNS, short_path) as b,
        RelayProcess(relay_at, incoming, "--stall-timeout", "1s") as relay,
    ):
        a.wait_ready()
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters={"max-bandwidth": 8 << 20})
        relay.wait_for(RelayState.RAM, pages=300)
        b.process.send_signal(19)
        assert relay.wait() == 4
        assert "taken nothing" in relay.close()
        assert_failed_and_running(a)


@pytest.mark.parametrize("name", ["kvm-default", "thesis", "cloudnet", "pagethrift"])
def test_a_source_with_xbzrle(name: str, qemu_binary: QemuLike, short_path: Path) -> None:
    """Its deltas go on as they come, between what the strategy makes of its full pages.

    The deltas are so small that QEMU ends by itself where the link is faster than the guest's full pages.
    """
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_binary, PATTERNS, short_path) as a,
        destination(qemu_binary, PATTERNS, short_path) as b,
        RelayProcess(relay_at, incoming, "--strategy", name) as relay,
    ):
        a.wait_ready()
        begin(
            a, b, short_path, to=relay_at, listen=incoming,
            capabilities={"xbzrle": True}, parameters={"max-bandwidth": 3 << 20, "downtime-limit": 1},
        )  # fmt: skip
        deadline_s = time.monotonic() + 40
        while a.qmp.execute("query-migrate").get("xbzrle-cache", {}).get("bytes", 0) < 20_000:
            assert time.monotonic() < deadline_s, a.qmp.execute("query-migrate")
            time.sleep(0.1)
        a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
        finish(a, b)
        assert relay.wait() == 0
        assert relay.status.pages.delta > 100
        if name == "kvm-default":  # it makes no delta of its own
            assert relay.status.in_bytes == relay.status.out_bytes
        assert relay.status.retransferred_pages > 500
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


@pytest.mark.parametrize("capability", ["postcopy-ram"])
def test_refused_capabilities_are_named(capability: str, qemu_10: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_10, PATTERNS, short_path) as a,
        RelayProcess(relay_at, incoming) as relay,
        destination(qemu_10, PATTERNS, short_path) as b,
    ):
        a.wait_ready()
        begin(
            a, b, short_path, to=relay_at, listen=incoming,
            capabilities={capability: True}, parameters=SLOW_LINK,
        )  # fmt: skip
        assert relay.wait() in (3, 4)
        assert capability in relay.close()
        assert_failed_and_running(a)
