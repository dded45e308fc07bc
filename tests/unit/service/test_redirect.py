"""Connections that a nat rule takes to the service: the rule is the one that docs/operating.md shows.

In a network namespace of its own, with real nftables.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pagethrift.stream.image import image
from tests.nat import GROUP, PORT, V4, V6, Net, nat_namespace
from tests.streams import before, random_stream

pytestmark = pytest.mark.slow


@pytest.fixture
def net() -> Iterator[Net]:
    with nat_namespace() as made:
        yield made


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


@pytest.mark.parametrize(
    ("port", "redirected"), [(49151, False), (49152, True), (49215, True), (49216, False)]
)
def test_the_rule_takes_libvirts_ports_and_no_others(net: Net, port: int, redirected: bool) -> None:
    with net.server(V4, port) as listener, net.service() as service:
        listener.settimeout(20)
        with net.connect(V4, port) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server, _ = listener.accept()
            assert everything(server) == b"hello"
            server.close()
        if redirected:
            assert service.wait_for("pipe")["destination"] == f"{V4}:{port}"
    assert bool(service.all("pipe")) is redirected


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
