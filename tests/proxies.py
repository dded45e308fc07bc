"""Pipes that stand for the proxies of others: KubeVirt's migration proxy, ssh -L."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tests.certificates import Authority

T = TypeVar("T")
PIECE_BYTES = 1 << 16


class Proxy:
    """Carries each connection to another place; the direction that ends first ends both, as KubeVirt's does.

    ``near`` listens already and becomes the proxy's. ``far`` is a Unix socket, or a port of this host. With
    TLS contexts one side is encrypted.
    """

    def __init__(
        self,
        near: socket.socket,
        far: Path | int,
        near_tls: ssl.SSLContext | None = None,
        far_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._far, self._near_tls, self._far_tls = far, near_tls, far_tls
        self.out_bytes = 0
        """carried from near to far, as it was before encryption"""
        self.connections = 0
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(self._listen(near))

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, near: socket.socket) -> asyncio.Server:
        start = asyncio.start_unix_server if near.family == socket.AF_UNIX else asyncio.start_server
        return await start(self._serve, sock=near, ssl=self._near_tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        writers = [writer]
        try:
            if isinstance(self._far, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(self._far)
            else:
                far_reader, far_writer = await asyncio.open_connection(
                    "localhost", self._far, ssl=self._far_tls
                )
            writers.append(far_writer)
            ways = [
                asyncio.create_task(self._copy(reader, far_writer, counted=True)),
                asyncio.create_task(self._copy(far_reader, writer, counted=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in ways:
                    each.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each_writer in writers:
                each_writer.close()
            self._serving.discard(task)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                writer.write(data)
                await writer.drain()
                if counted:
                    self.out_bytes += len(data)

    async def _end(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.sleep(0.1)  # connections are closed


def unix_listener(path: Path) -> socket.socket:
    """Return a socket that listens at a path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def both_tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a client and of a server that know each other's authority, and show certificates."""
    authority = Authority()
    (folder / "ca-cert.pem").write_bytes(authority.pem)
    found = []
    for role, purpose in (("client", ssl.PROTOCOL_TLS_CLIENT), ("server", ssl.PROTOCOL_TLS_SERVER)):
        authority.issue(folder, role, ["localhost"])
        context = ssl.SSLContext(purpose)
        context.load_cert_chain(folder / f"{role}-cert.pem", folder / f"{role}-key.pem")
        context.load_verify_locations(folder / "ca-cert.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        found.append(context)
    return found[0], found[1]
