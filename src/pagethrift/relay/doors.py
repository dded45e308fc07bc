"""Where a relay's connections come from: a socket that it listens on, or a service that hands them over.

Nobody further in knows which: a door gives connections away, one at a time, to whoever asks.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from typing import Protocol

from pagethrift.address import Address
from pagethrift.model.relay_protocol import Handing
from pagethrift.sockets import accepted, listen

BACKLOG = 512
"""QEMU connects up to 255 channels and main before anybody accepts"""
LATE_RECEIVE_BYTES = 4096
"""what the kernel takes of those who connect after the mark"""
SETTLE_S = 2.0
"""how long a service may take to hand over who has connected so far; it takes milliseconds"""


class Door(Protocol):
    """Where connections come from. ``shut`` may be called from any thread."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when somebody has come."""

    def take(self) -> socket.socket | OSError | None:
        """Return one connection, which will block; None: nobody is left; an error concerns that one only."""

    def settle(self) -> None:
        """Wait until everybody who has connected so far can be taken."""

    def expect_nobody(self) -> None:
        """Whoever comes from now on will be closed, and may cost little."""

    def shut(self) -> None:
        """Take nobody any more; whoever waits for this door is woken."""

    def close(self) -> None:
        """Close it for good."""


class Listening:
    """A socket of its own."""

    def __init__(self, address: Address) -> None:
        """Listen. Raises LinkError."""
        self._address = address
        self._listener = listen(address, BACKLOG)
        self._listener.setblocking(False)

    def __str__(self) -> str:
        return str(self._address)

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        return self._listener.fileno()

    def take(self) -> socket.socket | OSError | None:
        """Accept one connection."""
        return accepted(self._listener)

    def settle(self) -> None:
        """Do nothing: who has connected waits in the kernel's queue."""

    def expect_nobody(self) -> None:
        """Let the kernel take little of those who still connect."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LATE_RECEIVE_BYTES)

    def shut(self) -> None:
        """Listen no more."""
        _shut_down(self._listener)

    def close(self) -> None:
        """Close, and remove a Unix socket's file."""
        self._listener.remove_file()
        self._listener.close()


class HandedOver:
    """A socket of kind SOCK_SEQPACKET over which a service hands connections to this process (`Handing`)."""

    def __init__(self, descriptor: int) -> None:
        """Take over this process's end. Raises OSError."""
        self._service = socket.socket(fileno=descriptor)
        self._service.setblocking(False)
        self._come: deque[socket.socket] = deque()
        """taken from the service while it settled"""

    def __str__(self) -> str:
        return "the service that started this relay"

    def fileno(self) -> int:
        """Return the descriptor of the socket to the service."""
        return self._service.fileno()

    def take(self) -> socket.socket | OSError | None:
        """Return the next connection that was handed over."""
        if self._come:
            return self._come.popleft()
        found = self._receive()
        return found if isinstance(found, socket.socket) else None

    def settle(self) -> None:
        """Ask the service for whoever has connected there so far; a service that is gone has nobody."""
        deadline_s, room = time.monotonic() + SETTLE_S, select.poll()
        room.register(self._service, select.POLLIN)
        with contextlib.suppress(OSError):
            self._service.send(Handing.WHO_ELSE)
            while (left_s := deadline_s - time.monotonic()) > 0 and room.poll(left_s * 1000):
                match self._receive():
                    case socket.socket() as connection:
                        self._come.append(connection)
                    case bytes():  # the answer, or the end
                        return

    def expect_nobody(self) -> None:
        """Let the service know that it is not to hand over anybody else."""
        _shut_down(self._service)

    def shut(self) -> None:
        """Take nobody any more."""
        _shut_down(self._service)

    def close(self) -> None:
        """Close, with whoever was handed over and not taken."""
        for connection in self._come:
            connection.close()
        self._service.close()

    def _receive(self) -> socket.socket | bytes | None:
        """Return a connection or the service's word; None: nothing is there, b"": the end."""
        try:
            word, descriptors, _, _ = socket.recv_fds(self._service, 1, 1)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if not descriptors:
            return word
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(True)
        return connection


def door_at(entrance: Address | Door) -> Door:
    """Return a door; an address stands for one that listens there. Raises LinkError."""
    return Listening(entrance) if isinstance(entrance, Address) else entrance


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
