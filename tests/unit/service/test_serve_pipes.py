"""What is no migration passes through the service; whoever is nobody reaches nobody."""

from __future__ import annotations

import socket
import time

import pytest

from tests.services import ServiceProcess, free_port
from tests.unit.service.scenes import (
    HERE,
    LONGER_THAN_SILENCE_S,
    Destination,
    connect,
    everything,
    is_reset,
    pair,
)

pytestmark = pytest.mark.slow


def test_a_server_that_speaks_first_and_one_that_does_not() -> None:
    """A mail server's greeting, then a client-first one, each with both directions' ends kept apart."""
    with (
        socket.create_server((HERE, 0)) as mail,
        socket.create_server((HERE, 0)) as web,
        ServiceProcess(*pair(*(f"{HERE}:{each.getsockname()[1]}" for each in (mail, web)))) as service,
    ):
        client = connect(service)
        server, _ = mail.accept()
        server.sendall(b"220 mail.example ESMTP\r\n")
        assert client.recv(100) == b"220 mail.example ESMTP\r\n"
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert everything(server) == b"QUIT\r\n"
        server.sendall(b"221 bye\r\n")
        server.close()
        assert everything(client) == b"221 bye\r\n"
        event = service.wait_for("pipe")
        assert (event["out_bytes"], event["back_bytes"], event["error"]) == (6, 33, None)

        began_s = time.monotonic()
        client = connect(service, b"GET / HTTP/1.0\r\n\r\n", number=1)
        client.shutdown(socket.SHUT_WR)
        server, _ = web.accept()
        assert time.monotonic() - began_s < 0.25, "who speaks is not made to wait"
        assert everything(server) == b"GET / HTTP/1.0\r\n\r\n"
        server.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        server.close()
        assert everything(client) == b"HTTP/1.0 200 OK\r\n\r\n"


def test_a_source_that_speaks_tls_is_piped(destination: Destination) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01" + bytes(range(200))
    with ServiceProcess(*pair(destination)) as service:
        connect(service, hello).close()
        assert service.wait_for("pipe")["tls"] is True
        assert destination.received == [hello]


def test_who_looks_whether_a_port_is_open_does_not_reach_the_destination(destination: Destination) -> None:
    """To a QEMU it would be the one migration."""
    with ServiceProcess(*pair(destination)) as service:
        for _ in range(20):
            connect(service).close()
        time.sleep(LONGER_THAN_SILENCE_S)
        assert destination.received == []


def test_a_destination_that_does_not_listen_is_an_error_for_the_client() -> None:
    with ServiceProcess(*pair(f"{HERE}:{free_port()}")) as service:
        assert is_reset(connect(service, b"hello"))
        assert "is the destination listening?" in service.wait_for("refused")["reason"]


def test_without_silence_a_silent_client_reaches_nobody(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--silence", "0") as service:
        silent = connect(service)
        time.sleep(LONGER_THAN_SILENCE_S)
        assert destination.received == []
        silent.sendall(b"hello")
        destination.wait_for(1)
        silent.close()


def test_too_many_of_one_host(destination: Destination) -> None:
    with ServiceProcess(*pair(destination), "--per-host", "3") as service:
        kept = [connect(service, b"hello") for _ in range(3)]
        destination.wait_for(3)
        assert is_reset(connect(service, b"hello"))
        assert "too many connections" in service.wait_for("refused")["reason"]
        kept[0].close()
        service.wait_for("pipe")
        with connect(service, b"hello"):
            destination.wait_for(4)
