"""One connection to the destination: its socket, and how many of the written bytes are on the link."""

from __future__ import annotations

import array
import errno
import fcntl
import select
import socket
import termios
import time
from collections import deque

from pagethrift.engine.output import drop_bytes, first_bytes
from pagethrift.errors import LinkError
from pagethrift.sockets import STEP_S, close_both_ways

SEND_BYTES = 256 << 10
"""written at once: a small piece, so that rate and queue are looked at often"""
RECEIVE_BYTES = 64 << 10
EARLY_BYTES = 4 << 20
"""a destination that closes later than this has not taken the stream's first bytes for something else"""
TLS_ALERT = b"\x15\x03"
"""what a TLS server begins with when the first bytes are no TLS"""
SIOCOUTQNSD = 0x894B
"""TCP: bytes written to the socket and not yet sent at all (linux/sockios.h)"""


class Connection:
    """A connected socket: one thread writes, another may receive, and any thread may wait for it or close it.

    A connection that encrypts (`TlsConnection`) keeps apart what is one number here. ``write``
    drops from ``pieces``, and returns, plain bytes: the outlet counts with them. ``sent_bytes``,
    ``unacknowledged_bytes`` and ``unsent_bytes`` count bytes on the wire: the rate of the link comes
    from them. What is encrypted and not yet taken by the socket stays in ``pieces``, so the outlet
    counts it as unsent, and goes out before ``write`` takes more: pass the same ``pieces`` until they
    are empty. ``close`` may be called while another thread waits or writes.
    """

    def __init__(self, connected: socket.socket) -> None:
        """Take over a connected socket."""
        self._socket = connected
        self._tcp = connected.family != socket.AF_UNIX
        self.sent_bytes = 0
        """handed to the socket, as the wire carries them"""
        self.answered = False
        """something came back"""
        connected.setblocking(False)

    def wait_writable(self, timeout_s: float) -> bool:
        """Wait until the socket takes bytes; return False after ``timeout_s``. Raises OSError."""
        return self._wait(select.POLLOUT, timeout_s)

    def wait_readable(self, timeout_s: float) -> bool:
        """Wait until something came, the end included; return False after ``timeout_s``. Raises OSError."""
        return self._wait(select.POLLIN, timeout_s)

    def write(self, pieces: deque[memoryview]) -> int:
        """Write what the socket takes now and drop it from ``pieces``; returns the bytes dropped.

        Raises OSError.
        """
        try:
            count = self._socket.sendmsg(first_bytes(pieces, SEND_BYTES))
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._ended(error) from error
        drop_bytes(pieces, count)
        self.sent_bytes += count
        return count

    def write_all(self, data: bytes, timeout_s: float) -> None:
        """Write a few bytes. Raises LinkError."""
        pieces, deadline_s = deque([memoryview(data)]), time.monotonic() + timeout_s
        while pieces:
            try:
                if self.wait_writable(STEP_S):
                    self.write(pieces)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise LinkError(f"the destination closed the link: {reason}") from error
            if pieces and time.monotonic() > deadline_s:
                raise LinkError(f"the destination has taken nothing for {timeout_s:.0f} s")

    def receive(self, timeout_s: float) -> bytes | None:
        """Return what came back, b"" at its end, None if nothing came in ``timeout_s``. Raises OSError."""
        if not self.wait_readable(timeout_s):
            return None
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._ended(error) from error
        if not self.answered and data.startswith(TLS_ALERT):
            raise OSError(errno.EPROTO, "it expects TLS (tls-creds); give --tls-dir")
        self.answered = self.answered or bool(data)
        return data

    def bound_unsent(self, most_bytes: int) -> None:
        """Bound what the kernel takes ahead of the link (TCP only; a Unix socket's buffer is small)."""
        if self._tcp:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, most_bytes)

    def unacknowledged_bytes(self) -> int:
        """Bytes written that have not arrived at the other end."""
        return self._queue(termios.TIOCOUTQ)

    def unsent_bytes(self) -> int:
        """Bytes written that are not on the link yet."""
        return self._queue(SIOCOUTQNSD if self._tcp else termios.TIOCOUTQ)

    def hint(self) -> str:
        """Return what a destination that closes early and never answered may have meant; empty: unknown."""
        if self.answered or self.sent_bytes > EARLY_BYTES:
            return ""
        return ", without an answer; see its log, and give --tls-dir if it expects TLS (tls-creds)"

    def finish(self) -> None:
        """Tell the other end that nothing more comes. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both directions at once."""
        close_both_ways(self._socket)

    def _wait(self, events: int, timeout_s: float) -> bool:
        # An object of its own for each wait: poll() refuses to wait in two threads at once.
        waiting = select.poll()
        try:
            waiting.register(self._socket, events)
        except ValueError as error:
            raise OSError(errno.EBADF, "the connection is closed") from error
        return bool(waiting.poll(timeout_s * 1000))

    def _ended(self, error: OSError) -> OSError:
        """Return the error with what can be said about it."""
        return OSError(error.errno, f"{error.strerror or error}{self.hint()}")

    def _queue(self, request: int) -> int:
        count = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket.fileno(), request, count)
        except (OSError, ValueError):
            return 0
        return count[0]
