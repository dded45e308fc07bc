"""The service's listening sockets, and accepting from them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from pagethrift.address import Address
from pagethrift.service.ways import Pair, Way, close, leads_back
from pagethrift.sockets import Listener, accepted

ACCEPTS_AT_ONCE = 64
"""everybody else gets a turn in between"""
NO_DESCRIPTORS_S = 0.1
"""a pause when there is no descriptor, or no memory, for one more"""


class Entrance:
    """All ways in. ``take_in`` gets each connection, and the way it came; it must not wait."""

    def __init__(self, ways: Sequence[Way], take_in: Callable[[socket.socket, Way], None]) -> None:
        self._ways, self._take_in = ways, take_in
        self._listeners: dict[Listener, Way] = {}

    def open(self) -> list[str]:
        """Listen; return the addresses. Raises LinkError."""
        for way in self._ways:
            self._listeners |= dict.fromkeys(way.listen(), way)
        for listener in self._listeners:
            listener.setblocking(False)
            self._hear(listener)
        return [_place(listener, way) for listener, way in self._listeners.items()]

    def accept_all(self) -> None:
        """Accept everybody who has connected so far."""
        for listener in self._listeners:
            while self._accept(listener):
                pass

    def is_own(self, address: Address) -> bool:
        """Say whether an address is where this service listens."""
        return leads_back(address, list(self._listeners))

    def close(self) -> None:
        """Listen no more."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
        close(list(self._listeners))
        self._listeners.clear()

    def _accept(self, listener: Listener) -> bool:
        """Accept who has come; True: there may be more."""
        for _ in range(ACCEPTS_AT_ONCE):
            connection = accepted(listener)
            if connection is None:
                return False
            if isinstance(connection, OSError):
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(NO_DESCRIPTORS_S, self._hear, listener)
                return False
            self._take_in(connection, self._listeners[listener])
        return True

    def _hear(self, listener: Listener) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)


def _place(listener: Listener, way: Way) -> str:
    """Return where a listener listens; a port that was left to the kernel is known only now."""
    if listener.family == socket.AF_UNIX:
        return str(way.near) if isinstance(way, Pair) else ""
    host, port, *_ = listener.getsockname()
    return str(Address(host=host, port=port))
