"""Who is connected to the service: bounded in number, altogether and for each host."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from pagethrift.address import Address
from pagethrift.service.piping import Pipe

IDLE_S = 60.0
"""a client between which and its destination nothing moved for so long goes when there is no room"""

Key: TypeAlias = tuple[Address, str]
"""where a connection goes and which host it is from: the same for all connections of one migration"""


class Stage(Enum):
    """How far the service is with a client."""

    UNDECIDED = auto()
    CHANNEL = auto()
    """waits for its migration's main connection, or for its relay"""
    WAITING = auto()
    """a migration that waits for its turn"""
    STARTING = auto()
    """a migration whose relay starts"""
    PIPED = auto()


@dataclass(eq=False, slots=True)
class Client:
    """A connection that came in."""

    connection: socket.socket
    host: str
    """one for all connections of a machine; of a user where the socket is a Unix socket"""
    destination: Address
    since_s: float
    stage: Stage = Stage.UNDECIDED
    server: socket.socket | None = None
    """to the destination, opened because the client was silent"""
    server_s: float = 0.0
    """when it was opened"""
    server_name: object = None
    """its local address, for as long as the client is known"""
    pipe: Pipe | None = None
    task: asyncio.Task[None] | None = None
    """sorts this client out, or pipes"""

    @property
    def key(self) -> Key:
        """What it has in common with the other connections of its migration."""
        return self.destination, self.host

    @property
    def idle_since_s(self) -> float | None:
        """When something moved between it and its destination last; None: they are not connected."""
        if self.pipe is not None:
            return self.pipe.moved_s
        return self.server_s if self.server is not None else None


class Clients:
    """Every connection that the service still has; what was handed to a relay is none any more."""

    def __init__(self, most: int, most_of_host: int) -> None:
        self._most, self._most_of_host = most, most_of_host
        self._all: dict[Client, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, client: Client) -> None:
        """Keep a client; ask ``room_for`` before."""
        self._all[client] = None

    def remove(self, client: Client) -> bool:
        """Forget a client; False: it was forgotten before."""
        return self._all.pop(client, self) is None

    def of(self, *stages: Stage, key: Key | None = None) -> list[Client]:
        """Return the clients at some stages, all without any, in the order of coming."""
        return [
            client
            for client in self._all
            if (not stages or client.stage in stages) and key in (None, client.key)
        ]

    def room_for(self, host: str, now_s: float) -> bool | Client:
        """Say whether there is room for one more of a host; a client: if that one goes.

        Only idle ones go: the longest idle one of this host where the host has too many, else of the host
        that has the most. So one host's connections cannot push out another's.
        """
        counts = Counter(client.host for client in self._all)
        if counts[host] >= self._most_of_host:
            return self._idlest(host, now_s)
        if len(self._all) < self._most:
            return True
        return self._idlest(counts.most_common(1)[0][0], now_s)

    def _idlest(self, host: str, now_s: float) -> bool | Client:
        idle = {
            client: since_s
            for client in self._all
            if client.host == host and (since_s := client.idle_since_s) is not None
        }
        longest = min(idle, key=lambda client: idle[client], default=None)
        return longest if longest is not None and now_s - idle[longest] > IDLE_S else False
