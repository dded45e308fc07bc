"""A map of whole networks and port ranges, between two hosts: 127.88.0.N stands for 10.88.0.N."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, closing

import pytest

from pagethrift.errors import PagethriftError
from pagethrift.lab.hosts.namespaces import NamespaceThread
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.stream.image import image
from tests.services import ServiceProcess
from tests.streams import before, random_stream

pytestmark = pytest.mark.slow
PORTS = range(49300, 49304)


def everything(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def test_networks_and_port_ranges() -> None:
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(TwoHosts())
        except PagethriftError as error:
            pytest.skip(f"NOT TESTED: {error}")
        here = stack.enter_context(closing(NamespaceThread(hosts.a.namespace)))
        far = stack.enter_context(closing(NamespaceThread(hosts.b.namespace)))
        address = hosts.b.link_address
        listeners = [
            stack.enter_context(far.call(lambda port=port: socket.create_server((address, port))))  # type: ignore[misc]
            for port in PORTS
        ]
        mapped = f"127.88.0.0/24:{PORTS[0]}-{PORTS[-1]}=10.88.0.0/24"
        service = stack.enter_context(here.call(lambda: ServiceProcess("--map", mapped)))
        assert len(service.addresses) == len(PORTS)
        stand_in = f"127.88.0.{address.rpartition('.')[2]}"

        # on the loopback device only: nobody else on the network gets in
        with pytest.raises(ConnectionRefusedError):
            far.call(lambda: socket.create_connection((hosts.a.link_address, PORTS[1]), 5))

        with here.call(lambda: socket.create_connection((stand_in, PORTS[1]), 5)) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            server, _ = listeners[1].accept()
            with server:
                assert everything(server) == b"hello"
        stream, received = random_stream(9), bytearray()

        def receive() -> None:
            destination, _ = listeners[3].accept()
            with destination:
                received.extend(everything(destination))

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        with here.call(lambda: socket.create_connection((stand_in, PORTS[3]), 5)) as source:
            source.sendall(stream)
            source.shutdown(socket.SHUT_WR)
            (end,) = service.wait_for_ends(1)
        receiver.join(5)
        assert (end["error"], end["destination"]) == (None, f"{address}:{PORTS[3]}")
        assert (image(bytes(received), before).memory == image(stream, before).memory).all()
