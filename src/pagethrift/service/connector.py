"""Connecting clients of the service with their destinations, in threads: a name or a host may not answer."""

from __future__ import annotations

import asyncio
import functools
import socket
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

from pagethrift.errors import LinkError
from pagethrift.service.clients import Client, Clients, Key
from pagethrift.service.hearing import broken
from pagethrift.sockets import close_both_ways, connect

CONNECTORS = 64
"""at once: a destination that does not answer takes a thread for 10 s"""


class Connector:
    """Opens connections to destinations; refuses a client that is such a connection itself."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._orders: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(CONNECTORS, thread_name_prefix="connect")

    async def connect_in_order(self, client: Client) -> None:
        """Connect, and nobody else of the same host to the same destination meanwhile. Raises LinkError.

        So it is known which connection the destination saw first: a QEMU takes that one.
        """
        async with self._orders.setdefault(client.key, asyncio.Lock()):
            await self.connect(client)

    async def connect(self, client: Client) -> socket.socket:
        """Return the connection to a client's destination, made once; it is the client's. Raises LinkError.

        The attempt ends when the client has gone.
        """
        if client.server is not None:
            return client.server
        if self._is_own(client.connection):
            raise LinkError("it is this service's own: the nat rule must leave out the service's group")
        loop = asyncio.get_running_loop()
        given_up = functools.partial(broken, client.connection)
        attempt = functools.partial(connect, client.destination, given_up=given_up)
        making = loop.run_in_executor(self._threads, attempt)
        try:
            client.server = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close_made)
            raise
        client.server_s, client.server_name = loop.time(), client.server.getsockname()
        return client.server

    def close(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _is_own(self, connection: socket.socket) -> bool:
        """Say whether this process made a connection that came in, which a nat rule has sent back."""
        try:
            name = connection.getpeername()
        except OSError:
            return False
        return bool(name) and any(client.server_name == name for client in self._clients.of())


def _close_made(making: asyncio.Future[socket.socket]) -> None:
    if not making.cancelled() and making.exception() is None:
        close_both_ways(making.result())
