"""A destination that speaks TLS, played by OpenSSL's server, for one connection after another."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pagethrift.address import Address
from pagethrift.relay.connecting import open_connection
from pagethrift.relay.connection import SEND_BYTES, Connection
from pagethrift.tls import load_tls
from tests.certificates import Authority, client_folder, server_folder

Serve = Callable[[socket.socket], None]


@dataclass
class Scene:
    """A listening destination; each ``serve`` plays it for one connection."""

    folder: Path
    listener: socket.socket
    threads: list[threading.Thread] = field(default_factory=list)
    opened: list[Connection] = field(default_factory=list)
    ours: Authority = field(default_factory=Authority)

    @property
    def address(self) -> Address:
        return Address(host="localhost", port=self.listener.getsockname()[1])

    def serve(self, serve: Serve) -> None:
        def run() -> None:
            with contextlib.suppress(OSError), self.listener.accept()[0] as accepted:
                serve(accepted)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def open(self, folder: Path | None = None, hostname: str = "") -> Connection:
        tls = load_tls(folder or client_folder(self.folder / "client", self.ours), self.address, hostname)
        self.opened.append(open_connection(self.address, tls))
        return self.opened[-1]

    def server(self, folder: Path | None = None) -> ssl.SSLContext:
        """Return the settings of a server that verifies its peer, as QEMU's does."""
        folder = folder or server_folder(self.folder / "server", self.ours)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
        context.load_verify_locations(folder / "ca-cert.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextlib.contextmanager
def playing(tmp_path: Path) -> Iterator[Scene]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scene = Scene(tmp_path, listener)
        yield scene
        for each in scene.opened:
            each.close()
    for thread in scene.threads:
        thread.join(5)
        assert not thread.is_alive()


def write_all(connection: Connection, pieces: deque[memoryview], timeout_s: float = 20.0) -> int:
    """Write as the outlet does; return the plain bytes that were taken."""
    taken, deadline_s = 0, time.monotonic() + timeout_s
    while pieces:
        assert time.monotonic() < deadline_s
        if connection.wait_writable(0.2):
            before = sum(map(len, pieces))
            count = connection.write(pieces)
            assert 0 <= count <= SEND_BYTES
            assert before - count == sum(map(len, pieces))
            taken += count
    return taken


def receive(connection: Connection, size: int, timeout_s: float = 10.0) -> bytes:
    """Return ``size`` bytes that came back, or all up to the end."""
    data, deadline_s = bytearray(), time.monotonic() + timeout_s
    while len(data) < size:
        assert time.monotonic() < deadline_s
        more = connection.receive(0.2)
        if more == b"":
            break
        data += more or b""
    return bytes(data)


def echo(server: ssl.SSLContext, versions: list[str] | None = None) -> Serve:
    """Return a destination that sends everything back, up to close_notify."""

    def serve(accepted: socket.socket) -> None:
        with server.wrap_socket(accepted, server_side=True, suppress_ragged_eofs=False) as encrypted:
            if versions is not None:
                versions.append(str(encrypted.version()))
            while data := encrypted.recv(65536):
                encrypted.sendall(data)
            if versions is not None:
                versions.append("close_notify")
            encrypted.sendall(b"late")

    return serve


def handshake(context: ssl.SSLContext) -> Serve:
    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as encrypted:
            encrypted.recv(1)

    return serve
