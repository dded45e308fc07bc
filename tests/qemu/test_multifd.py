"""RAM compared byte by byte: the source sends on several channels, the destination knows nothing of it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pagethrift.lab.guest.packages import QemuSeries
from pagethrift.model.relay_protocol import RelayState
from tests.qemu.machines import (
    SERIES,
    Machine,
    QemuLike,
    assert_failed_and_running,
    destination,
    differing_pages,
    find_qemu,
    finish,
    source,
)
from tests.qemu.relays import RelayProcess, sockets
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS
from tests.qemu.tiny import MIB

SLOW_BPS = 24 << 20
"""about half a second a round, so that there are several"""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way in which QEMU speaks multifd."""

    name: str
    series: QemuSeries
    machine: str
    zero_pages: str = ""
    """parameter zero-page-detection; empty: this QEMU has none"""


DIALECTS = (
    Dialect("7.2-per-section", "7.2", "pc"),
    Dialect("10.0-per-round-zero-in-packets", "10.0", "pc", "multifd"),
    Dialect("10.0-per-round-zero-on-main", "10.0", "pc", "legacy"),
    Dialect("10.0-per-section-zero-in-packets", "10.0", "pc-i440fx-7.2", "multifd"),
    Dialect("10.0-per-section-zero-on-main", "10.0", "pc-i440fx-7.2", "legacy"),
    Dialect("10.0-per-round-no-zero", "10.0", "q35", "none"),
    Dialect("11.1-per-round-zero-in-packets", "11.1", "q35", "multifd"),
    Dialect("11.1-per-section-zero-on-main", "11.1", "pc-i440fx-7.2", "legacy"),
)


@pytest.fixture(
    params=[spoken for spoken in DIALECTS if spoken.series in SERIES], ids=lambda dialect: dialect.name
)
def dialect(request: pytest.FixtureRequest) -> tuple[Dialect, QemuLike]:
    """Each dialect with a QEMU that speaks it; skips, saying so, when there is none."""
    found = find_qemu(request.param.series)
    if found is None:
        pytest.skip(f"no QEMU {request.param.series} here: pagethrift lab doctor says how to get one")
    return request.param, found


def begin(a: Machine, b: Machine, to: str, listen: str, channels: int, **parameters: object) -> None:
    """Start a migration with multifd at the source only."""
    a.qmp.set_capabilities(multifd=True, return_path=True, events=True)
    b.qmp.set_capabilities(return_path=True)
    values = {"multifd-channels": channels, "max-bandwidth": SLOW_BPS, "downtime-limit": 1, **parameters}
    a.qmp.command("migrate-set-parameters", values)
    b.qmp.execute("migrate-incoming", uri=listen)
    a.qmp.migrate(to)


def let_it_run(a: Machine, seconds: float) -> None:
    """Let some rounds pass, then allow the switchover."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and a.qmp.execute("query-migrate")["status"] in ("setup", "active"):
        time.sleep(0.05)
    a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})


@pytest.mark.parametrize("channels", [2, 4])
def test_ram_is_equal(channels: int, dialect: tuple[Dialect, QemuLike], short_path: Path) -> None:
    spoken, binary = dialect
    relay_at, incoming = sockets(short_path)
    detection = {"zero-page-detection": spoken.zero_pages} if spoken.zero_pages else {}
    with (
        source(binary, PATTERNS, short_path, spoken.machine) as a,
        destination(binary, PATTERNS, short_path, spoken.machine) as b,
        RelayProcess(relay_at, incoming) as relay,
    ):
        a.wait_ready()
        begin(a, b, relay_at, incoming, channels, **detection)
        let_it_run(a, 2.0)
        info = finish(a, b)
        assert relay.wait() == 0
        status = relay.status
        assert status.state is RelayState.DONE
        assert info["ram"]["dirty-sync-count"] >= 3
        assert info["ram"]["multifd-bytes"] > 6 * MIB
        assert status.retransferred_pages > 500
        assert status.pages.skipped > 100
        assert status.pages.delta > 100
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


def test_relay_killed_midway_leaves_the_guest_running(qemu_binary: QemuLike, short_path: Path) -> None:
    """Then the same source migrates again, through a new relay that listens on TCP, and RAM is equal."""
    relay_at, incoming = sockets(short_path)
    with source(qemu_binary, PATTERNS, short_path) as a:
        a.wait_ready()
        with (
            destination(qemu_binary, PATTERNS, short_path) as b,
            RelayProcess(relay_at, incoming) as relay,
        ):
            begin(a, b, relay_at, incoming, 3, **{"max-bandwidth": 8 << 20})
            relay.wait_for(RelayState.RAM, pages=1500)
            relay.close()
            assert_failed_and_running(a)
        address, uri = tcp_address()
        with (
            destination(qemu_binary, PATTERNS, short_path) as b,
            RelayProcess(address, incoming) as relay,
        ):
            begin(a, b, uri, incoming, 3, **{"max-bandwidth": 0, "downtime-limit": 10_000})
            finish(a, b)
            assert relay.wait() == 0
            assert differing_pages(a.dump_ram(), b.dump_ram()) == []


def test_destination_dies(qemu_binary: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with source(qemu_binary, PATTERNS, short_path) as a, RelayProcess(relay_at, incoming) as relay:
        a.wait_ready()
        with destination(qemu_binary, PATTERNS, short_path) as b:
            begin(a, b, relay_at, incoming, 4, **{"max-bandwidth": 8 << 20})
            relay.wait_for(RelayState.RAM, pages=1500)
        assert relay.wait() == 4
        assert_failed_and_running(a)
        assert "the destination closed the link" in relay.close()


def test_cancelling_ends_the_relay(qemu_binary: QemuLike, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    with (
        source(qemu_binary, PATTERNS, short_path) as a,
        destination(qemu_binary, PATTERNS, short_path) as b,
        RelayProcess(relay_at, incoming) as relay,
    ):
        a.wait_ready()
        begin(a, b, relay_at, incoming, 4, **{"max-bandwidth": 8 << 20})
        relay.wait_for(RelayState.RAM, pages=1500)
        a.qmp.execute("migrate_cancel")
        assert relay.wait() in (3, 4)
        assert_failed_and_running(a, "cancelled")


COMPRESSED = [
    (dialect, compression, level)
    for dialect in DIALECTS
    for compression, level in (("zlib", 1), ("zstd", 1), ("zstd", 20))
    if level == 1 or dialect.name in ("7.2-per-section", "10.0-per-round-zero-in-packets")
]


@pytest.mark.parametrize(
    ("spoken", "compression", "level"), COMPRESSED, ids=[f"{d.name}-{c}-{n}" for d, c, n in COMPRESSED]
)
def test_a_source_that_compresses(spoken: Dialect, compression: str, level: int, short_path: Path) -> None:
    """Its pages are unpacked, and thinned as those of any other source."""
    binary = find_qemu(spoken.series)
    if binary is None:
        pytest.skip(f"no QEMU {spoken.series} here: pagethrift lab doctor says how to get one")
    relay_at, incoming = sockets(short_path)
    parameters: dict[str, object] = {"multifd-compression": compression, "max-bandwidth": 6 << 20}
    parameters[f"multifd-{compression}-level"] = level
    if spoken.zero_pages:
        parameters["zero-page-detection"] = spoken.zero_pages
    with (
        source(binary, PATTERNS, short_path, spoken.machine) as a,
        destination(binary, PATTERNS, short_path, spoken.machine) as b,
        RelayProcess(relay_at, incoming) as relay,
    ):
        a.wait_ready()
        begin(a, b, relay_at, incoming, 3, **parameters)
        let_it_run(a, 2.0)
        info = finish(a, b)
        assert relay.wait() == 0
        status = relay.status
        assert status.state is RelayState.DONE
        assert info["ram"]["dirty-sync-count"] >= 3
        assert info["ram"]["multifd-bytes"] > MIB
        assert status.retransferred_pages > 500
        assert status.pages.skipped > 100
        assert status.pages.delta > 100
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


def tcp_address() -> tuple[str, str]:
    """Return a free address of this machine as the relay and as QEMU write it."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    return f"127.0.0.1:{port}", f"tcp:127.0.0.1:{port}"
