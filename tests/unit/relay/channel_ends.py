"""The destination's ends of a relay's sockets, for tests that play it."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from pagethrift.model.channels import ChannelSettings
from pagethrift.model.pages import PAGE_BYTES, Block
from pagethrift.relay.connection import Connection
from pagethrift.stream.encoding.packet import Packet, PacketEncoder


def packet_of(pages: int = 128, seed: int = 1) -> Packet:
    """A packet of random pages, with an estimate."""
    packet = Packet()
    packet.begin(Block(b"pc.ram", 1 << 30, 0))
    packet.count = pages
    data = random.Random(seed).randbytes(pages * PAGE_BYTES)
    packet.data[: len(data)] = np.frombuffer(data, np.uint8)
    packet.estimates[0] = 1000
    return packet


@dataclass
class Ends:
    """A pair of sockets for main and each channel; ``far`` are the destination's."""

    near: list[Connection] = field(default_factory=list)
    far: list[socket.socket] = field(default_factory=list)

    def read(self, number: int, timeout_s: float = 0.3) -> bytes:
        """Return all that arrives at one of the destination's ends until nothing does."""
        found, end = b"", self.far[number]
        end.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError):
            while data := end.recv(1 << 20):
                found += data
        return found


@contextlib.contextmanager
def ends(count: int, buffer_bytes: int = 0) -> Iterator[Ends]:
    """``buffer_bytes``: bound the sockets' buffers."""
    found = Ends()
    for _ in range(count):
        near, far = socket.socketpair()
        if buffer_bytes:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        found.near.append(Connection(near))
        found.far.append(far)
    try:
        yield found
    finally:
        for connection in found.near:
            connection.close()
        for end in found.far:
            end.close()


def encoders(count: int) -> list[PacketEncoder]:
    return [PacketEncoder(number, ChannelSettings(channels=count, window_log=20)) for number in range(count)]


def eventually(what: Callable[[], object], timeout_s: float = 3.0) -> bool:
    """Wait until ``what`` is true."""
    deadline_s = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.005)
    return True
