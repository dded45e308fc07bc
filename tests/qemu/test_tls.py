"""The relay as TLS client of real QEMUs: RAM compared, and each certificate that must be refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pagethrift.model.relay_protocol import RelayState
from tests.certificates import Authority, client_folder, server_folder
from tests.qemu.machines import (
    Machine,
    QemuLike,
    assert_failed_and_running,
    begin,
    destination,
    differing_pages,
    finish,
    source,
)
from tests.qemu.relays import RelayProcess, sockets
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS

SLOW_LINK = {"max-bandwidth": 16 << 20, "downtime-limit": 1}


def tls_server(folder: Path) -> tuple[str, ...]:
    """Return the options of a QEMU that has these credentials."""
    return ("-object", f"tls-creds-x509,id=tls0,dir={folder},endpoint=server,verify-peer=on")


def expect_tls(machine: Machine) -> None:
    machine.qmp.command("migrate-set-parameters", {"tls-creds": "tls0"})


@dataclass
class Place:
    """A source that runs, and a folder with an authority."""

    source: Machine
    binary: QemuLike
    folder: Path
    ours: Authority

    def client(self) -> str:
        return str(client_folder(self.folder / "client", self.ours))


@pytest.fixture
def place(qemu_binary: QemuLike, short_path: Path) -> Iterator[Place]:
    with source(qemu_binary, PATTERNS, short_path) as a:
        a.wait_ready()
        yield Place(a, qemu_binary, short_path, Authority())


def listening(machine: Machine, uri: str) -> str:
    """Let a destination listen; return its address for the relay."""
    rows = [{"capability": "return-path", "state": True}]
    machine.qmp.execute("migrate-set-capabilities", capabilities=rows)
    machine.qmp.execute("migrate-incoming", uri=uri)
    (at,) = machine.qmp.execute("query-migrate")["socket-address"]
    return f"unix:{at['path']}" if at["type"] == "unix" else f"{at['host']}:{at['port']}"


@pytest.mark.parametrize("tcp", [False, True])
def test_ram_is_equal(place: Place, tcp: bool) -> None:
    relay_at, incoming = sockets(place.folder)
    server = server_folder(place.folder / "server", place.ours)
    more = ["--tls-dir", place.client(), *([] if tcp else ["--tls-hostname", "localhost"])]
    a = place.source
    with destination(place.binary, PATTERNS, place.folder, extra=tls_server(server)) as b:
        expect_tls(b)
        to = listening(b, "tcp:127.0.0.1:0" if tcp else incoming)
        with RelayProcess(relay_at, to, *more) as relay:
            rows = [{"capability": name, "state": True} for name in ("return-path", "events")]
            a.qmp.execute("migrate-set-capabilities", capabilities=rows)
            a.qmp.command("migrate-set-parameters", dict(SLOW_LINK))
            a.qmp.migrate(relay_at)
            time.sleep(2.0)
            a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
            finish(a, b)
            assert relay.wait() == 0, relay.close()
            assert relay.status.state is RelayState.DONE
            assert relay.status.pages.skipped > 100
            assert relay.status.pages.delta > 100
        assert differing_pages(a.dump_ram(), b.dump_ram()) == []


def of_another_authority(place: Place) -> Path:
    theirs = Authority("theirs")
    folder = server_folder(place.folder / "server", place.ours)
    theirs.issue(folder, "server", ["localhost"])
    (folder / "ca-cert.pem").write_bytes(theirs.pem + place.ours.pem)
    return folder


def of_another_host(place: Place) -> Path:
    return server_folder(place.folder / "server", place.ours, ["host3"])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (of_another_authority, "its certificate is of no authority in "),
        (of_another_host, "its certificate is not for localhost"),
    ],
)
def test_a_destination_that_is_not_the_one(place: Place, made: Callable[[Place], Path], says: str) -> None:
    refused(place, tls_server(made(place)), place.client(), says)


def test_a_destination_that_does_not_believe_us(place: Place) -> None:
    """QEMU closes the connection when our handshake is over, without a word."""
    theirs = Authority("theirs")
    server = server_folder(place.folder / "server", theirs)
    client = client_folder(place.folder / "client", place.ours)
    (client / "ca-cert.pem").write_bytes(place.ours.pem + theirs.pem)
    log = refused(place, tls_server(server), str(client), "it may have refused .*client/client-cert.pem")
    assert "certificate" in log.lower()


def test_a_destination_without_tls(place: Place) -> None:
    refused(place, None, place.client(), "set tls-creds there, or leave --tls-dir out")


def test_a_destination_with_tls_and_a_plain_relay(place: Place) -> None:
    server = server_folder(place.folder / "server", place.ours)
    refused(place, tls_server(server), None, "give --tls-dir")


def refused(place: Place, server: tuple[str, ...] | None, client: str | None, says: str) -> str:
    """Migrate; it must fail with that line and leave the source running. Returns the destination's log."""
    relay_at, incoming = sockets(place.folder)
    more = ("--tls-dir", client, "--tls-hostname", "localhost") if client is not None else ()
    with (
        destination(place.binary, PATTERNS, place.folder, extra=server or ()) as b,
        RelayProcess(relay_at, incoming, *more) as relay,
    ):
        if server is not None:
            expect_tls(b)
        begin(place.source, b, place.folder, to=relay_at, listen=incoming, parameters=SLOW_LINK)
        assert relay.wait() == 4
        assert_failed_and_running(place.source)
        line = relay.close().strip()
        assert "\n" not in line
        assert re.search(says, line), line
        return b.log.read_text()
