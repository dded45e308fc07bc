"""The one place where a connection to the destination is opened, encrypted or not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from pagethrift.address import Address
from pagethrift.relay.connection import Connection
from pagethrift.sockets import connect

if TYPE_CHECKING:
    from pagethrift.tls import TlsClient


def open_connection(
    address: Address,
    tls: TlsClient | None = None,
    given_up: Callable[[], bool] = lambda: False,
    channel: bool = False,
    made: socket.socket | None = None,
) -> Connection:
    """Return a connection that is ready for the stream. Raises LinkError.

    ``given_up`` is asked about ten times a second; True ends the attempt. With ``tls`` the destination has
    shown its certificate; whether it takes ours is seen later only (`TlsConnection`). ``channel``: a multifd
    channel, which the destination reads to its end; QEMU wants main first. ``made``: a connection that is
    there already, over which nothing was sent.
    """
    connected = made or connect(address, given_up=given_up)
    if tls is None:
        return Connection(connected)
    from pagethrift.relay.tls_connection import TlsConnection  # a relay without TLS does not load OpenSSL

    connection = TlsConnection.opened(connected, tls, address, given_up)
    connection.read_to_end = channel
    return connection
