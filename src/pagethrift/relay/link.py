"""The link: sends what the thinner made, bounded in seconds of link, and measures its rate.

QEMU judges the bandwidth by how fast the relay reads. What the relay swallows and has
not sent must therefore stay small: its own queue and the socket's unsent bytes count
together, and the kernel's send buffer, which grows to megabytes by itself, is bounded
by TCP_NOTSENT_LOWAT.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import termios
import threading
import time
from collections import deque
from collections.abc import Callable

from pagethrift.engine.output import Output, drop_bytes, first_bytes
from pagethrift.errors import LinkError
from pagethrift.model.defaults import RELAY_BUFFER_MAX_BYTES, RELAY_BUFFER_MIN_BYTES, RELAY_BUFFER_S

UNKNOWN_BUFFER_BYTES = 1 << 20
"""until the rate is measured, in 0.2 s"""
SEND_BYTES = 256 << 10
"""at once, so that rate and queue are looked at often"""
BUFFERS = 4
"""outputs in the pool: one being filled, one being sent, two queued"""
FAST_BPS = 64 << 20
"""half a gigabit a second"""
BUSY_BYTES = 256 << 10
"""1 ms of a link of 2 Gbit/s"""
RATE_WINDOW_S = 0.2
SIOCOUTQNSD = 0x894B
"""TCP: bytes written to the socket and not yet sent at all (linux/sockios.h)"""


class Link:
    """Owns the socket to the destination and a thread that writes to it."""

    def __init__(
        self,
        connection: socket.socket,
        stall_timeout_s: float,
        on_error: Callable[[LinkError], None],
        bandwidth_bps: float = 0.0,
    ) -> None:
        """Take over a connected socket; ``on_error`` is called once, from the writing thread."""
        self._socket = connection
        self._on_error = on_error
        self._tcp = connection.family != socket.AF_UNIX
        self._stall_timeout_s = stall_timeout_s
        self.rate_bps = bandwidth_bps
        self.sent_bytes = 0
        self._queue: deque[Output] = deque()
        self._pool: deque[Output] = deque(Output() for _ in range(BUFFERS))
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._error: LinkError | None = None
        self._window = (time.monotonic(), 0, False)
        self._drained = (time.monotonic(), 0)
        connection.setblocking(False)
        self._set_low_water()
        self._thread = threading.Thread(target=self._write_all, name="link", daemon=True)
        self._thread.start()

    @property
    def bound_bytes(self) -> int:
        """How much may wait: RELAY_BUFFER_S of link, within limits."""
        if self.rate_bps <= 0:
            return UNKNOWN_BUFFER_BYTES
        wanted_bytes = max(RELAY_BUFFER_MIN_BYTES, self.rate_bps * RELAY_BUFFER_S)
        return int(min(RELAY_BUFFER_MAX_BYTES, wanted_bytes))

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the queue and in the socket that are not on the link yet."""
        return self._queued_bytes + self._in_socket(unsent_only=True)

    def busy(self) -> bool:
        """Whether a fast link has enough to send for a while.

        Nobody counts what is gathered meanwhile: on a slow link it would be missing from the predicted
        downtime, and there the hosts have time to spare.
        """
        fast = self.rate_bps <= 0 or self.rate_bps >= FAST_BPS
        return fast and self.unsent_bytes >= BUSY_BYTES

    def take(self) -> Output:
        """Return an empty output; waits until what is unsent is within the bound. Raises LinkError."""
        with self._changed:
            while not self._pool or self._queued_bytes > self.bound_bytes // 2:
                self._check()
                self._changed.wait(0.5)
            self._check()
            output = self._pool.popleft()
        output.clear()
        return output

    def put(self, output: Output) -> None:
        """Queue an output for sending (or just take it back when it is empty)."""
        with self._changed:
            if output.total_bytes:
                self._queue.append(output)
                self._queued_bytes += output.total_bytes
            else:
                self._pool.append(output)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is written, then tell the destination nothing more comes."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._check()
        self._socket.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """Stop writing at once."""
        with self._changed:
            self._error = self._error or LinkError("the link was given up")
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _write_all(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._queue:
                        if self._closing or self._error:
                            return
                        self._changed.wait(0.5)
                        now_s = time.monotonic()
                        self._measure(now_s, busy=False)
                        self._check_draining(now_s)
                    output = self._queue[0]
                self._write(output)
                with self._changed:
                    self._queue.popleft()
                    self._pool.append(output)
                    self._changed.notify_all()
        except (OSError, ValueError, LinkError) as error:
            reason = str(error)
            if not isinstance(error, LinkError):
                reason = f"the destination closed the link: {getattr(error, 'strerror', None) or reason}"
            with self._changed:
                self._error = self._error or LinkError(reason)
                self._changed.notify_all()
            self._on_error(self._error)

    def _write(self, output: Output) -> None:
        pieces = output.pieces()
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        last_progress_s = time.monotonic()
        while pieces:
            self._check()
            events = poller.poll(200)
            now_s = time.monotonic()
            if not events:
                if now_s - last_progress_s > self._stall_timeout_s:
                    raise LinkError(f"the destination has taken nothing for {self._stall_timeout_s:.0f} s")
                continue
            try:
                count = self._socket.sendmsg(first_bytes(pieces, SEND_BYTES))
            except BlockingIOError:
                continue
            last_progress_s = now_s
            drop_bytes(pieces, count)
            with self._changed:
                self._queued_bytes -= count
                self.sent_bytes += count
                self._changed.notify_all()
            self._measure(now_s, busy=True)

    def _check_draining(self, now_s: float) -> None:
        """What the socket took must reach the destination: device state may fit a send buffer whole."""
        since_s, left_before = self._drained
        left = self._in_socket()
        if left == 0 or left != left_before:
            self._drained = (now_s, left)
        elif now_s - since_s > self._stall_timeout_s:
            raise LinkError(f"the destination has taken nothing for {self._stall_timeout_s:.0f} s")

    def _measure(self, now_s: float, busy: bool) -> None:
        """Keep the rate at which the link drains, over windows in which it never ran dry."""
        began_s, drained_before, was_busy = self._window
        busy = busy and was_busy
        if now_s - began_s < RATE_WINDOW_S:
            self._window = (began_s, drained_before, busy)
            return
        in_socket = self._in_socket()
        drained = self.sent_bytes - in_socket
        rate = (drained - drained_before) / (now_s - began_s)
        if busy and in_socket:
            self.rate_bps = rate if self.rate_bps <= 0 else 0.7 * self.rate_bps + 0.3 * rate
            self._set_low_water()
        elif rate > self.rate_bps:
            self.rate_bps = rate
        self._window = (now_s, drained, True)

    def _set_low_water(self) -> None:
        if self._tcp:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self.bound_bytes // 2)

    def _in_socket(self, unsent_only: bool = False) -> int:
        count = array.array("i", [0])
        request = SIOCOUTQNSD if unsent_only and self._tcp else termios.TIOCOUTQ
        try:
            fcntl.ioctl(self._socket.fileno(), request, count)
        except (OSError, ValueError):
            return 0
        return count[0]
