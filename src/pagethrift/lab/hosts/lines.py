"""Lines from a process, with a bounded wait for each."""

from __future__ import annotations

import os
import select
import time
from typing import IO

_CHUNK_BYTES = 65536


class LineReader:
    """Reads lines from a pipe to which another process writes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Take over ``pipe``; no one else may read it."""
        self._pipe = pipe
        self._held = b""
        self.ended = False
        """the other side has closed the pipe; lines read before may still be held"""

    def next(self, timeout_s: float) -> bytes | None:
        """Return the next line with its newline, or None if no whole line came in time or the pipe ended.

        An unfinished line at the end of the pipe is dropped, because its writer died.
        """
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._held:
            left_s = max(0.0, deadline_s - time.monotonic())
            if self.ended or not select.select([self._pipe], [], [], left_s)[0]:
                return None
            # Not pipe.read(): it would wait for more, or keep lines where select does not see them.
            data = os.read(self._pipe.fileno(), _CHUNK_BYTES)
            self.ended = not data
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line + b"\n"
