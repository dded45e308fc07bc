"""A destination with compressed channels that a test plays on real sockets, as QEMU's threads do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

from pagethrift.address import Address
from pagethrift.engine.sync_point import PROBE, PROBE_VALUE
from pagethrift.model.channels import SyncMode
from pagethrift.sockets import listen

HEADER_BYTES = 1344
LOADED = b"\x00\x01\x00\x04\x00\x00\x00\x00"
END = b"\x04device state"
"""with this the stream of a source ends"""
PONG = b"\x00\x02\x00\x04" + PROBE_VALUE.to_bytes(4, "big")


class FakeDestination:
    """Takes main and ``channels`` channels, answers the probe as ``mode`` does, and says that it has loaded.

    ``mode`` None: it never answers. ``late_s``: it accepts channels so late.
    """

    def __init__(self, folder: Path, channels: int, mode: SyncMode | None, late_s: float = 0.0) -> None:
        self.main = bytearray()
        self.channels = [bytearray() for _ in range(channels)]
        self.sockets: list[socket.socket] = []
        """main, then the channels, as they came"""
        self.answered = threading.Event()
        self.hold_verdict = threading.Event()
        self.hold_verdict.set()
        self._mode, self._late_s = mode, late_s
        self._answers = 0
        self._listener = listen(Address(path=str(folder / "far")))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End everything."""
        self.hold_verdict.set()
        for each in (self._listener, *self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(3)

    def close_channel(self, number: int) -> None:
        """As a QEMU whose thread for this channel has failed."""
        self.sockets[1 + number].shutdown(socket.SHUT_RDWR)

    def syncs(self, number: int) -> int:
        """How many SYNCs a channel has brought."""
        data, at, found = bytes(self.channels[number]), 64, 0
        while at + HEADER_BYTES <= len(data):
            found += data[at + 11] & 1
            at += HEADER_BYTES + int.from_bytes(data[at + 20 : at + 24], "big")
        return found

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            self._take(self._read_main)
            time.sleep(self._late_s)
            for number in range(len(self.channels)):
                self._take(self._read_channel, number)
            self._listener.close()  # as QEMU: it has all that it expects

    def _take(self, read: object, *number: int) -> None:
        connection, _ = self._listener.accept()
        self.sockets.append(connection)
        thread = threading.Thread(target=read, args=(connection, *number), daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _read_main(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                self.main += data
                while self._mode and self.main.count(PROBE) > self._answers:
                    self._answer(connection)
                if self.main.endswith(END):
                    self.hold_verdict.wait(5)
                    connection.sendall(LOADED)
            connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket) -> None:
        deadline_s = time.monotonic() + 5
        while self._mode is SyncMode.SECTION and time.monotonic() < deadline_s:
            if all(self.syncs(number) > self._answers for number in range(len(self.channels))):
                break
            time.sleep(0.01)
        self._answers += 1
        connection.sendall(PONG)
        self.answered.set()

    def _read_channel(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                self.channels[number] += data
