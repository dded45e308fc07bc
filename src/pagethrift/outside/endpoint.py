"""The HTTP endpoint that a Prometheus scrapes: few threads, each for a bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import MetricsHandler

from pagethrift.address import Address
from pagethrift.errors import UsageError
from pagethrift.model.running import Running
from pagethrift.outside.metrics import registry
from pagethrift.sockets import listen

AT_ONCE = 4
"""connections; one more is closed at once"""
LONGEST_S = 5.0
"""one connection from its beginning to its end: a slower scraper is cut off"""
LOOK_S = 0.2
"""how often connections that took too long are looked for; closing takes as long"""


class Endpoint:
    """Serves /metrics until `close`."""

    def __init__(self, address: Address, running: Callable[[], Iterable[Running]]) -> None:
        """Listen at once. Raises UsageError, and LinkError when the address cannot be had."""
        if address.path:
            raise UsageError(f"--metrics {address}: Prometheus scrapes HOST:PORT, e.g. 127.0.0.1:9942")
        self._server = _Server(address, running)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(LOOK_S,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut_off(0.0)


class _Handler(MetricsHandler):
    """Answers GET /metrics, and nothing else."""

    timeout = LONGEST_S

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "only /metrics is here")
            return
        super().do_GET()

    def version_string(self) -> str:
        """Say who answers, without the versions of what serves."""
        return "pagethrift"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Address, running: Callable[[], Iterable[Running]]) -> None:
        listener = listen(address)
        handler: type[BaseHTTPRequestHandler] = _Handler.factory(registry(running))
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread of its own, if there is one left."""
        with self._lock:
            full = len(self._open) >= AT_ONCE
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long; called every LOOK_S."""
        self.cut_off(LONGEST_S)

    def cut_off(self, after_s: float) -> None:
        """Close connections that are older; their threads end by themselves."""
        now_s = time.monotonic()
        with self._lock:
            slow = [each for each, began_s in self._open.items() if now_s - began_s >= after_s]
        for each in slow:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a scraper that went away is no matter of the migration."""
