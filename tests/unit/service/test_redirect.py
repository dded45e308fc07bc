"""Connections that a nat rule takes to the service: the rule is the one that docs/operating.md shows.

In a network namespace of its own, with real nftables.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pagethrift.errors import PagethriftError
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.hosts.namespaces import NamespaceThread
from pagethrift.stream.image import image
from tests.nat import GROUP, documented_rule, nft_program
from tests.services import ServiceProcess
from tests.streams import before, random_stream

pytestmark = pytest.mark.slow
V4, V6 = "10.5.0.1", "fd05::1"
PORT = 49160


class Net:
    """A namespace with two addresses of its own and the rule."""

    def __init__(self, thread: NamespaceThread) -> None:
        self._thread = thread

    def run(self, *command: str, **more: Any) -> None:
        done = self._thread.call(lambda: subprocess.run(command, capture_output=True, text=True, **more))
        assert done.returncode == 0, done.stderr

    def server(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self._thread.call(lambda: socket.create_server((host, PORT), family=family))

    def connect(self, host: str, port: int = PORT) -> socket.socket:
        found = self._thread.call(socket.create_connection, (host, port), 10)
        found.settimeout(20)
        return found

    def service(self, *more: str, group: int = GROUP) -> ServiceProcess:
        options = ("--redirect", "127.0.0.1:4400", "--redirect", "[::1]:4400", *more)
        return self._thread.call(lambda: ServiceProcess(*options, group=group))


@pytest.fixture
def net() -> Iterator[Net]:
    try:
        namespaces.require_rights()
    except PagethriftError as error:
        pytest.skip(f"NOT TESTED: {error}")
    try:
        nft, environment = nft_program()
    except PagethriftError as error:
        pytest.skip(f"NOT TESTED: no nft here, and none can be fetched: {error}")
    name = namespaces.unique_prefix()
    namespaces.create(name)
    thread = NamespaceThread(name)
    try:
        net = Net(thread)
        switches = "/proc/sys/net/ipv6/conf/{all,default,lo}/disable_ipv6"
        net.run("bash", "-c", f"for each in {switches}; do echo 0 >$each; done")
        net.run("ip", "address", "add", f"{V4}/32", "dev", "lo")
        net.run("ip", "address", "add", f"{V6}/128", "dev", "lo", "nodad")
        try:
            net.run(nft, "-f", "-", input=documented_rule(), env={**os.environ, **environment})
        except AssertionError as error:
            if "Operation not supported" in str(error) or "No such file" in str(error):
                pytest.skip(f"NOT TESTED: this kernel has no nat for nftables: {error}")
            raise
        yield net
    finally:
        thread.close()
        namespaces.remove(name)


def everything(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


@pytest.mark.parametrize("host", [V4, V6])
def test_a_redirected_connection_goes_where_it_was_going(net: Net, host: str) -> None:
    """A migration is thinned, what is none is piped, and the service's own connections are left alone."""
    with net.server(host) as listener, net.service() as service:
        listener.settimeout(20)
        with net.connect(host) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server, _ = listener.accept()
            assert everything(server) == b"hello"
            server.sendall(b"and back")
            server.close()
            assert everything(client) == b"and back"
        stream, received = random_stream(5), bytearray()

        def receive() -> None:
            destination, _ = listener.accept()
            with destination:
                received.extend(everything(destination))

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        with net.connect(host) as source:
            source.sendall(stream)
            source.shutdown(socket.SHUT_WR)
            (end,) = service.wait_for_ends(1)
        receiver.join(5)
        shown = f"[{host}]:{PORT}" if ":" in host else f"{host}:{PORT}"
        assert (end["error"], end["destination"]) == (None, shown)
        assert (image(bytes(received), before).memory == image(stream, before).memory).all()


def test_who_connects_to_the_listener_itself_goes_nowhere(net: Net) -> None:
    with net.service() as service:
        got = b""
        with contextlib.suppress(ConnectionError), net.connect("127.0.0.1", 4400) as client:
            got = everything(client)
        assert got == b""
        reason = service.wait_for("refused")["reason"]
        assert "not redirected" in reason or "this service itself" in reason
        assert service.all("pipe") == []


def test_a_service_that_the_rule_does_not_leave_out_makes_no_endless_loop(net: Net) -> None:
    """What is no migration is refused by name; a migration fails at once, and its guest runs on."""
    with net.server(V4), net.service(group=GROUP + 1) as service:
        with net.connect(V4) as client:
            client.sendall(b"hello")
            with pytest.raises(ConnectionError):
                everything(client)
        assert "the nat rule must leave out" in service.wait_for("refused")["reason"]
        assert len(service.all("refused")) < 5
        with net.connect(V4) as source:
            source.sendall(random_stream(5)[:2000])
            (end,) = service.wait_for_ends(1)
            assert end["error"]["kind"] == "link"
        assert len(service.all("begin")) == 1
        assert service.process.poll() is None
