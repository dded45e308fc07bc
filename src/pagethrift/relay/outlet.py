"""The outlet: sends what the thinner made, bounded in seconds of link.

QEMU judges the bandwidth by how fast the relay reads. What the relay has read and not
yet sent must therefore stay small: its own queue and the sockets' unsent bytes together.
The kernel's send buffer would grow to megabytes by itself; TCP_NOTSENT_LOWAT bounds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from pagethrift.engine.output import Output
from pagethrift.errors import LinkError
from pagethrift.relay.connection import Connection
from pagethrift.relay.rate import LinkRate

BUFFERS = 4
"""outputs in the pool: one being filled, one being sent, two queued"""
BUSY_BYTES = 256 << 10
"""1 ms of a link of 2 Gbit/s"""
POLL_S = 0.2
WAIT_S = 0.5


class Outlet:
    """Owns the connections to the destination and a thread that writes to the main one."""

    def __init__(
        self,
        main: Connection,
        stall_timeout_s: float,
        on_error: Callable[[LinkError], None],
        bandwidth_bps: float = 0.0,
    ) -> None:
        """Take over a connection; ``on_error`` is called once, from the writing thread."""
        self._main = main
        self._connections = [main]
        self.rate = LinkRate(self._connections, time.monotonic(), bandwidth_bps)
        self._on_error = on_error
        self._stall_timeout_s = stall_timeout_s
        self._queue: deque[Output] = deque()
        self._pool: deque[Output] = deque(Output() for _ in range(BUFFERS))
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._error: LinkError | None = None
        self._drained = (time.monotonic(), 0)
        self.rate.bound_sockets()
        self._thread = threading.Thread(target=self._write_all, name="link", daemon=True)
        self._thread.start()

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the sockets."""
        return sum(connection.sent_bytes for connection in self._connections)

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the queue and in the sockets that are not on the link yet."""
        return self._queued_bytes + sum(connection.unsent_bytes() for connection in self._connections)

    def busy(self) -> bool:
        """Whether a fast link has enough to send for a while.

        What intake gathers meanwhile is in no counter. On a slow link it would be missing from the
        predicted downtime; besides, the hosts of a slow link have time to spare.
        """
        return self.rate.fast and self.unsent_bytes >= BUSY_BYTES

    def take(self) -> Output:
        """Return an empty output, once what is unsent is within the bound. Raises LinkError."""
        with self._changed:
            while not self._pool or self._queued_bytes > self.rate.bound_bytes // 2:
                self._check()
                self._changed.wait(WAIT_S)
            self._check()
            output = self._pool.popleft()
        output.clear()
        return output

    def put(self, output: Output) -> None:
        """Queue an output for sending; an empty one goes straight back into the pool."""
        with self._changed:
            if output.total_bytes:
                self._queue.append(output)
                self._queued_bytes += output.total_bytes
            else:
                self._pool.append(output)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is written; tell the destination that no more comes. Raises LinkError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._check()
        self._main.finish()

    def abandon(self) -> None:
        """Stop writing at once, and close the connections."""
        with self._changed:
            self._error = self._error or LinkError("the link was given up")
            self._changed.notify_all()
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

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
                        self._changed.wait(WAIT_S)
                        now_s = time.monotonic()
                        self.rate.measure(now_s, busy=False)
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
        last_progress_s = time.monotonic()
        while pieces:
            self._check()
            writable = self._main.wait_writable(POLL_S)
            now_s = time.monotonic()
            if not writable:
                if now_s - last_progress_s > self._stall_timeout_s:
                    raise self._stalled()
                continue
            count = self._main.write(pieces)
            if not count:
                continue
            last_progress_s = now_s
            with self._changed:
                self._queued_bytes -= count
                self._changed.notify_all()
            self.rate.measure(now_s, busy=True)

    def _check_draining(self, now_s: float) -> None:
        """Raise LinkError when the destination takes nothing, even if the socket took everything.

        All of the device state may fit into a send buffer.
        """
        since_s, left_before = self._drained
        left = self._main.unacknowledged_bytes()
        if left == 0 or left != left_before:
            self._drained = (now_s, left)
        elif now_s - since_s > self._stall_timeout_s:
            raise self._stalled()

    def _stalled(self) -> LinkError:
        return LinkError(f"the destination has taken nothing for {self._stall_timeout_s:.0f} s")
