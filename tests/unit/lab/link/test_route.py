"""The way of the stream: real tunnels and a real delay between two namespaces."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pagethrift.address import parse_address
from pagethrift.errors import LabError, LinkError
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.lab.hosts.processes import ProcessGroup
from pagethrift.lab.link import tunnels
from pagethrift.lab.link.route import Route, open_route
from pagethrift.lab.link.spec import LinkSpec, Security

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lab_network")]

SECRET = b"every page of the guest, readable by whoever listens on the link"


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with TwoHosts() as built:
        yield built


def require(security: Security) -> None:
    for name in {"ssh": ("sshd", "ssh"), "tls": ("stunnel4", "openssl"), "none": ()}[security.value]:
        try:
            tunnels.tunnel_program(name, "")
        except LabError:
            pytest.skip(f"no {name} here; run scripts/setup-system.sh as root")


def listen_at_destination(hosts: TwoHosts, route: Route) -> socket.socket:
    far = namespaces.NamespaceThread(hosts.b.namespace)
    address = parse_address(route.incoming)
    listener = far.call(socket.create_server, (address.host, address.port))
    far.close()
    listener.settimeout(20)
    return listener


def connect_from_source(hosts: TwoHosts, route: Route) -> socket.socket:
    address = parse_address(route.to)
    connection = namespaces.connect_from(hosts.a.namespace, (address.host, address.port), 5)
    connection.settimeout(20)
    return connection


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def sniff(hosts: TwoHosts) -> socket.socket:
    """Return a socket that gets every frame B receives from the link."""
    inside = namespaces.NamespaceThread(hosts.b.namespace)
    raw = inside.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    inside.close()
    raw.bind(("link0", 3))
    raw.settimeout(0.2)
    return raw


def frames(raw: socket.socket) -> bytes:
    caught = b""
    try:
        while True:
            caught += raw.recv(1 << 17)
    except TimeoutError:
        return caught


@pytest.mark.parametrize("delay_s", [0.0, 0.01])
@pytest.mark.parametrize("security", list(Security))
def test_bytes_pass_and_only_a_plain_link_shows_them(
    hosts: TwoHosts, tmp_path: Path, security: Security, delay_s: float
) -> None:
    require(security)
    with ProcessGroup(tmp_path) as group:
        route = open_route(LinkSpec(None, (), delay_s, security), hosts, group, tmp_path)
        with listen_at_destination(hosts, route) as listener, sniff(hosts) as raw:
            source = connect_from_source(hosts, route)
            source.sendall(SECRET)
            destination, _ = listener.accept()
            destination.settimeout(20)
            assert receive(destination, len(SECRET)) == SECRET
            destination.sendall(SECRET[::-1])
            assert receive(source, len(SECRET)) == SECRET[::-1]
            seen = frames(raw)
            assert len(seen) > len(SECRET)
            assert (SECRET in seen) == (security is Security.NONE)
            source.shutdown(socket.SHUT_WR)
            assert destination.recv(1) == b"", "the end comes through"
            source.close()
            destination.close()
        assert len(route.tunnel) == (0 if security is Security.NONE else 2)
        assert bool(route.protection) == (security is not Security.NONE)
        assert len(route.forwarder) == (1 if route.delay_by == "forwarder" else 0)
        assert bool(route.delay_by) == bool(delay_s)


def test_a_delay_holds_whoever_makes_it(hosts: TwoHosts, tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        route = open_route(LinkSpec(None, (), 0.1), hosts, group, tmp_path)
        with listen_at_destination(hosts, route) as listener, connect_from_source(hosts, route) as source:
            destination, _ = listener.accept()
            began_s = time.monotonic()
            source.sendall(b"x")
            assert receive(destination, 1) == b"x"
            destination.sendall(b"x")
            assert receive(source, 1) == b"x"
            assert time.monotonic() - began_s >= 0.2
            destination.close()


def test_the_tunnel_adds_its_overhead_to_the_links_bytes(hosts: TwoHosts, tmp_path: Path) -> None:
    require(Security.TLS)
    with ProcessGroup(tmp_path) as group:
        route = open_route(LinkSpec(None, security=Security.TLS), hosts, group, tmp_path)
        with listen_at_destination(hosts, route) as listener, connect_from_source(hosts, route) as source:
            destination, _ = listener.accept()
            before = hosts.bytes_sent()
            threading.Thread(target=source.sendall, args=(bytes(4_000_000),)).start()
            assert len(receive(destination, 4_000_000)) == 4_000_000
            assert 4_000_000 < hosts.bytes_sent() - before < 4_600_000
            destination.close()


@pytest.mark.parametrize("security", [Security.SSH, Security.TLS])
def test_nothing_of_a_tunnel_outlives_its_killed_ends(
    hosts: TwoHosts, tmp_path: Path, security: Security
) -> None:
    require(security)
    with ProcessGroup(tmp_path) as group:
        route = open_route(LinkSpec(None, security=security), hosts, group, tmp_path)
        with listen_at_destination(hosts, route) as listener, connect_from_source(hosts, route) as source:
            listener.accept()[0].close()
            family = [psutil.Process(one.pid) for one in route.tunnel]
            family += [child for one in list(family) for child in one.children(recursive=True)]
            for one in route.tunnel:  # what the death signal does when the lab is killed
                os.kill(one.pid, signal.SIGKILL)
            _, alive = psutil.wait_procs(family, timeout=20)
            assert not alive
            source.close()


def test_a_stranger_cannot_use_the_tls_tunnel(hosts: TwoHosts, tmp_path: Path) -> None:
    require(Security.TLS)
    (tmp_path / "other").mkdir()
    with ProcessGroup(tmp_path) as group:
        open_route(LinkSpec(None, security=Security.TLS), hosts, group, tmp_path)
        stranger = tunnels.tls_tunnel(tmp_path / "other")
        command = stranger.near_end((hosts.b.link_address, 4445), ("127.0.0.1", 4999), ("127.0.0.1", 4444))
        group.start(command, name="stranger", namespace=hosts.a.namespace)
        connection = None
        deadline_s = time.monotonic() + 20
        while connection is None:
            assert time.monotonic() < deadline_s
            with contextlib.suppress(LinkError):
                connection = namespaces.connect_from(hosts.a.namespace, ("127.0.0.1", 4999), 1)
        connection.settimeout(20)
        with connection, contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@pytest.mark.parametrize("make", [tunnels.ssh_tunnel, tunnels.tls_tunnel])
def test_a_missing_program_is_named_with_its_package(
    make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagethrift.lab.link.tunnels.shutil.which", lambda name, path=None: None)
    with pytest.raises(LabError, match=r"install package (openssh-server|stunnel4)"):
        make(tmp_path)  # type: ignore[operator]
