"""Several real migrations at once through one service: RAM compared byte by byte, and what a fault costs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.qemu import test_multifd as multifd
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
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS
from tests.qemu.tiny import MIB
from tests.services import ServiceProcess, free_port

SLOW_LINK = {"max-bandwidth": 16 << 20, "downtime-limit": 1}
RAM_BYTES = 32 * MIB


class Pairs:
    """Sources and destinations, each pair on its own."""

    def __init__(self, binary: QemuLike, folder: Path, count: int, stack: contextlib.ExitStack) -> None:
        enter = stack.enter_context
        self.sources = [enter(source(binary, PATTERNS, folder, ram_bytes=RAM_BYTES)) for _ in range(count)]
        self.destinations = [
            enter(destination(binary, PATTERNS, folder, ram_bytes=RAM_BYTES)) for _ in range(count)
        ]
        for each in self.sources:
            each.wait_ready()

    def differing(self, which: Sequence[int]) -> list[list[int]]:
        return [differing_pages(self.sources[n].dump_ram(), self.destinations[n].dump_ram()) for n in which]


def let_go(machines: Sequence[Machine], seconds: float = 1.5) -> None:
    for machine in machines:
        multifd.let_it_run(machine, seconds)


def test_three_at_once_by_fixed_pairs(qemu_binary: QemuLike, short_path: Path) -> None:
    """Over TCP, over Unix sockets, and with multifd at the source."""
    ports = [free_port() for _ in range(3)]
    relays = [f"127.0.0.1:{ports[0]}", f"unix:{short_path}/relay", f"127.0.0.1:{ports[1]}"]
    incoming = [f"unix:{short_path}/in0", f"unix:{short_path}/in1", f"tcp:127.0.0.1:{ports[2]}"]
    options = []
    for near, far in zip(relays, incoming, strict=True):
        options += ["--pair", f"{near}={far.removeprefix('tcp:')}"]
    uris = [each if each.startswith("unix:") else f"tcp:{each}" for each in relays]
    with contextlib.ExitStack() as stack:
        pairs = Pairs(qemu_binary, short_path, 3, stack)
        service = stack.enter_context(ServiceProcess(*options))
        for n in (0, 1):
            begin(pairs.sources[n], pairs.destinations[n], short_path, uris[n], incoming[n],
                  parameters=SLOW_LINK)  # fmt: skip
        multifd.begin(pairs.sources[2], pairs.destinations[2], uris[2], incoming[2], 4)
        processes = {each["pid"] for each in service.wait_for_all("relay", 3)}
        assert len(processes) == 3, "each has a process of its own"
        let_go(pairs.sources)
        for a, b in zip(pairs.sources, pairs.destinations, strict=True):
            finish(a, b)
        ends = service.wait_for_ends(3)
        assert [end["error"] for end in ends] == [None] * 3
        assert all(end["out_bytes"] < end["in_bytes"] for end in ends)
        assert pairs.differing(range(3)) == [[], [], []]


def test_three_at_once_by_an_address_map(qemu_binary: QemuLike, short_path: Path) -> None:
    """127.77.0.N stands for 127.78.0.N, at the same port; one source has multifd."""
    hosts = [5, 6, 7]
    ports = [free_port(f"127.78.0.{host}") for host in hosts]
    options = []
    for host, port in zip(hosts, ports, strict=True):
        options += ["--map", f"127.77.0.{host}:{port}=127.78.0.{host}"]
    with contextlib.ExitStack() as stack:
        pairs = Pairs(qemu_binary, short_path, 3, stack)
        service = stack.enter_context(ServiceProcess(*options))
        for n, (host, port) in enumerate(zip(hosts, ports, strict=True)):
            to, listen = f"tcp:127.77.0.{host}:{port}", f"tcp:127.78.0.{host}:{port}"
            if n == 2:
                multifd.begin(pairs.sources[n], pairs.destinations[n], to, listen, 3)
            else:
                begin(pairs.sources[n], pairs.destinations[n], short_path, to, listen, parameters=SLOW_LINK)
        let_go(pairs.sources)
        for a, b in zip(pairs.sources, pairs.destinations, strict=True):
            finish(a, b)
        ends = service.wait_for_ends(3)
        assert [end["error"] for end in ends] == [None] * 3
        assert sorted(end["destination"] for end in ends) == sorted(
            f"127.78.0.{host}:{port}" for host, port in zip(hosts, ports, strict=True)
        )
        assert pairs.differing(range(3)) == [[], [], []]


def test_a_killed_relay_and_a_server_that_speaks_first(qemu_10: QemuLike, short_path: Path) -> None:
    """One of three relays is killed: its guest runs on, the others' arrive, and a mail server is heard."""
    ports = [free_port() for _ in range(3)]
    incoming = [f"unix:{short_path}/in{n}" for n in range(3)]
    options = []
    for port, far in zip(ports, incoming, strict=True):
        options += ["--pair", f"127.0.0.1:{port}={far}"]
    with contextlib.ExitStack() as stack:
        mail = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        mail_port = free_port()
        options += ["--pair", f"127.0.0.1:{mail_port}=127.0.0.1:{mail.getsockname()[1]}"]
        pairs = Pairs(qemu_10, short_path, 3, stack)
        service = stack.enter_context(ServiceProcess(*options))
        for n in range(3):
            begin(pairs.sources[n], pairs.destinations[n], short_path, f"tcp:127.0.0.1:{ports[n]}",
                  incoming[n], parameters={"max-bandwidth": 8 << 20, "downtime-limit": 1})  # fmt: skip
        service.wait_for_all("relay", 3)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", mail_port), 10))
        server, _ = mail.accept()
        server.sendall(b"220 mail.example ESMTP\r\n")
        assert client.recv(100) == b"220 mail.example ESMTP\r\n"
        victim = service.wait_for("begin", destination=incoming[1])["id"]
        os.kill(service.wait_for("relay", id=victim)["pid"], signal.SIGKILL)
        assert service.wait_for("end")["id"] == victim
        assert_failed_and_running(pairs.sources[1])
        let_go([pairs.sources[n] for n in (0, 2)])
        for n in (0, 2):
            finish(pairs.sources[n], pairs.destinations[n])
        assert [end["error"] for end in service.wait_for_ends(3)[1:]] == [None, None]
        assert pairs.differing((0, 2)) == [[], []]
        client.sendall(b"QUIT\r\n")
        assert server.recv(100) == b"QUIT\r\n"
        server.close()


def test_told_to_end_midway(qemu_10: QemuLike, short_path: Path) -> None:
    """The migration is finished; a second one finds nobody; the service has ended well."""
    port, incoming = free_port(), f"unix:{short_path}/in"
    with contextlib.ExitStack() as stack:
        pairs = Pairs(qemu_10, short_path, 1, stack)
        service = stack.enter_context(ServiceProcess("--pair", f"127.0.0.1:{port}={incoming}"))
        a, b = pairs.sources[0], pairs.destinations[0]
        begin(a, b, short_path, f"tcp:127.0.0.1:{port}", incoming, parameters=SLOW_LINK)
        service.wait_for("relay")
        service.terminate()
        service.wait_for("draining", migrations=1)
        let_go([a])
        finish(a, b)
        assert service.wait() == 0
        assert service.all("end")[0]["error"] is None
        assert pairs.differing([0]) == [[]]


def test_a_source_that_is_ended_leaves_the_service_serving(qemu_10: QemuLike, short_path: Path) -> None:
    """The service ends at once: the guest runs on at the source, and migrates through the next service."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        a = stack.enter_context(source(qemu_10, PATTERNS, short_path, ram_bytes=RAM_BYTES))
        a.wait_ready()
        for attempt in range(2):
            with (
                destination(qemu_10, PATTERNS, short_path, ram_bytes=RAM_BYTES) as b,
                ServiceProcess("--pair", f"127.0.0.1:{port}=unix:{short_path}/in{attempt}") as service,
            ):
                limit = {**SLOW_LINK, "downtime-limit": 1 if attempt == 0 else 10_000}
                begin(a, b, short_path, f"tcp:127.0.0.1:{port}", f"unix:{short_path}/in{attempt}",
                      parameters=limit)  # fmt: skip
                service.wait_for("relay")
                if attempt == 0:
                    service.terminate()
                    service.wait_for("draining")
                    service.terminate()
                    assert service.wait() == 0
                    assert_failed_and_running(a)
                else:
                    finish(a, b)
                    assert differing_pages(a.dump_ram(), b.dump_ram()) == []
