"""Writing lines to a pipe without ever waiting long for whoever reads it."""

from __future__ import annotations

import os
import select
import threading


class LineWriter:
    """Writes whole lines to a descriptor, from any thread; a slow reader loses lines and delays nobody."""

    def __init__(self, output_fd: int) -> None:
        self._fd = output_fd
        self._lock = threading.Lock()
        self._torn = False
        """the last line was cut short"""
        self._room = select.poll()
        self._room.register(output_fd, select.POLLOUT)

    def write(self, line: bytes, timeout_ms: int) -> None:
        """Write a line. A pipe with any room takes PIPE_BUF (4096) bytes at once: nearly every line fits.

        It is dropped when there is no room within ``timeout_ms``, or nobody reads any more.
        """
        try:
            with self._lock:
                left = b"\n" + line if self._torn else line
                whole = len(left)
                while left and self._room.poll(timeout_ms):
                    left = left[os.write(self._fd, left[: select.PIPE_BUF]) :]
                if len(left) < whole:
                    self._torn = bool(left)
        except OSError:  # the reader is gone
            return
