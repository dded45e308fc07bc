"""A TCP forwarder that hands on every byte after a fixed delay, for kernels without netem.

A window bounds the bytes in flight, as on a real link of the same rate and delay: a sender that is
faster than the link is held back and not buffered. Connecting is not delayed. It runs as a process:
``python -m pagethrift.lab.link.delay --listen 127.0.0.1:4440 --connect 10.88.0.2:4444 --delay 10ms``.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections import deque

from pagethrift.address import Address, parse_address
from pagethrift.errors import PagethriftError
from pagethrift.sockets import close_both_ways, connect, listen
from pagethrift.units import parse_seconds, parse_size

_CHUNK_BYTES = 65536
# Small socket buffers, so that the window bounds the bytes in flight.
_SOCKET_BYTES = 128 * 1024
_SLACK_S = 0.02
_WINDOW_MAX_BYTES = 256 * 1024 * 1024
_UNSHAPED_BPS = 1_250_000_000


def window_bytes(bandwidth_bps: int | None, delay_s: float) -> int:
    """Return the bytes in flight on a link of this rate (None: 10 Gbit/s) and delay.

    20 ms and 64 KiB are added, so that the waking of threads costs no throughput.
    """
    wanted = int((bandwidth_bps or _UNSHAPED_BPS) * (delay_s + _SLACK_S)) + _CHUNK_BYTES
    return min(wanted, _WINDOW_MAX_BYTES)


class DelayLine:
    """One direction of a connection: bytes come out ``delay_s`` after they came in."""

    def __init__(self, giver: socket.socket, taker: socket.socket, delay_s: float, window: int) -> None:
        """Join two connected sockets; at most ``window`` bytes are held at a time."""
        self._giver = giver
        self._taker = taker
        self._delay_s = delay_s
        self._window = window
        self._held_bytes = 0
        self._queue: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._broken = False

    def read(self) -> None:
        """Take bytes in until the giver ends; run it in a thread."""
        data = b"-"
        while data:
            with self._changed:
                while self._held_bytes >= self._window and not self._broken:
                    self._changed.wait()
                if self._broken:
                    return
                room = min(_CHUNK_BYTES, self._window - self._held_bytes)
            try:
                data = self._giver.recv(room)
            except OSError:  # reset by the giver: the end for the taker
                data = b""
            with self._changed:
                self._queue.append((time.monotonic() + self._delay_s, data))
                self._held_bytes += len(data)
                self._changed.notify_all()

    def write(self) -> None:
        """Give bytes out when they are due, up to the end of the stream; run it in a thread."""
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                due_s, data = self._queue[0]
            time.sleep(max(0.0, due_s - time.monotonic()))
            try:
                if not data:
                    self._taker.shutdown(socket.SHUT_WR)
                    return
                self._taker.sendall(data)
            except OSError:
                self._break()
                return
            with self._changed:
                self._queue.popleft()
                self._held_bytes -= len(data)
                self._changed.notify_all()

    def _break(self) -> None:
        """Tell the giver at once that the taker is gone, instead of taking more bytes in."""
        with contextlib.suppress(OSError):
            self._giver.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._broken = True
            self._changed.notify_all()


def forward(near: socket.socket, to: Address, delay_s: float, window: int) -> None:
    """Forward one accepted connection until both its directions have ended."""
    far = None
    try:
        far = connect(to)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        lines = [DelayLine(near, far, delay_s, window), DelayLine(far, near, delay_s, window)]
        work = [step for line in lines for step in (line.read, line.write)]
        threads = [threading.Thread(target=step, daemon=True) for step in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except PagethriftError as error:
        print(f"pagethrift lab delay: {error}", file=sys.stderr, flush=True)
    finally:
        close_both_ways(near)
        close_both_ways(far)


def serve(listener: socket.socket, to: Address, delay_s: float, window: int) -> None:
    """Accept and forward connections until the listener is closed."""
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=forward, args=(near, to, delay_s, window), daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="pagethrift.lab.link.delay", description="a TCP link with a delay")
    parser.add_argument("--listen", type=parse_address, required=True, help="HOST:PORT")
    parser.add_argument("--connect", type=parse_address, required=True, help="HOST:PORT")
    parser.add_argument("--delay", type=parse_seconds, required=True, help="in each direction, e.g. 10ms")
    parser.add_argument("--window", type=parse_size, required=True, help="most bytes in flight, e.g. 1MiB")
    options = parser.parse_args(arguments)
    try:
        listener = listen(options.listen)
    except PagethriftError as error:
        print(f"pagethrift lab delay: {error}", file=sys.stderr)
        return error.exit_code
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
    serve(listener, options.connect, options.delay, options.window)
    return 0


if __name__ == "__main__":
    sys.exit(main())
