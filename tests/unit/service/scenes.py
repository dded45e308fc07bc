"""The service as a process with destinations and sources that tests play: what they share."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pagethrift.stream.image import image
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, packet
from tests.services import ServiceProcess
from tests.streams import before, random_stream

SYNC = packet(flags=PacketFlag.SYNC)
HERE = "127.0.0.1"
LONGER_THAN_SILENCE_S = 0.7


@dataclass
class Destination:
    """A listening socket that takes everything; ``received`` is each connection's bytes."""

    host: str = HERE
    port: int = 0
    received: list[bytearray] = field(default_factory=list)
    ended: list[threading.Event] = field(default_factory=list)

    def __enter__(self) -> Destination:
        self.listener = socket.create_server((self.host, self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                data, ended = bytearray(), threading.Event()
                self.received.append(data)
                self.ended.append(ended)
                threading.Thread(target=self._read, args=(connection, data, ended), daemon=True).start()

    @staticmethod
    def _read(connection: socket.socket, data: bytearray, ended: threading.Event) -> None:
        with connection, contextlib.suppress(OSError):
            while piece := connection.recv(1 << 16):
                data += piece
        ended.set()

    def wait_for(self, connections: int) -> None:
        wait_until(lambda: len(self.received) >= connections)


def wait_until(reached: object, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    assert callable(reached)
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def pair(*destinations: Destination | str) -> list[str]:
    """Return the options for a pair for each destination, at any free port."""
    found = []
    for each in destinations:
        far = each if isinstance(each, str) else f"{each.host}:{each.port}"
        found += ["--pair", f"{HERE}:0={far}"]
    return found


def connect(service: ServiceProcess, data: bytes = b"", number: int = 0) -> socket.socket:
    port = int(service.addresses[number].rpartition(":")[2])
    found = socket.create_connection((HERE, port), 20)
    found.sendall(data)
    return found


def everything(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 16):
        data += piece
    return bytes(data)


def is_reset(connection: socket.socket, timeout_s: float = 10.0) -> bool:
    """Say whether the other end broke the connection; waits for it, also behind an end."""
    broken = select.poll()
    broken.register(connection, 0)
    return any(events & select.POLLERR for _, events in broken.poll(timeout_s * 1000))


def is_closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        everything(connection)
    return True


def flushed(builder: StreamBuilder) -> bytes:
    data = b"".join(bytes(part) for part in builder.parts)
    builder.parts.clear()
    return data


class Halfway:
    """A migration of which the source has written the first half."""

    def __init__(self, service: ServiceProcess, number: int = 0, seed: int = 1) -> None:
        stream = random_stream(seed)
        self.stream, self.half = stream, len(stream) // 2
        self.main = connect(service, stream[: self.half], number)

    def finish(self) -> None:
        self.main.sendall(self.stream[self.half :])
        self.main.shutdown(socket.SHUT_WR)

    def arrived(self, data: bytes | bytearray) -> bool:
        return bool((image(bytes(data), before).memory == image(self.stream, before).memory).all())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
