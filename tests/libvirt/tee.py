"""``python tests/libvirt/tee.py LISTEN CONNECT FILE``: hand one connection on, and keep what goes forward.

Ports are HOST:PORT. A line on standard output says that it listens.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

CONNECT_S = 10.0
PIECE_BYTES = 1 << 16


def main(listen: str, connect: str, path: str) -> None:
    """Carry one connection to its end."""
    with socket.create_server(_endpoint(listen)) as server:
        print("listens", flush=True)
        near, _ = server.accept()
    far = _connected(_endpoint(connect))
    back = threading.Thread(target=_carry, args=(far, near))
    back.start()
    with Path(path).open("wb") as kept:
        _carry(near, far, kept)
    back.join()


def _carry(source: socket.socket, target: socket.socket, kept: BinaryIO | None = None) -> None:
    with contextlib.suppress(OSError):  # an end that has gone
        while piece := source.recv(PIECE_BYTES):
            if kept is not None:
                kept.write(piece)
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _connected(address: tuple[str, int]) -> socket.socket:
    deadline_s = time.monotonic() + CONNECT_S
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.02)


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    main(*sys.argv[1:])
