"""What a service says: a line for people on standard error, a JSON object for programs on standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from pagethrift.errors import one_line
from pagethrift.line_writer import LineWriter

VERSION = 1
"""in every object; goes up when a field is removed, renamed or given another meaning"""
LONGEST_LINE = 1000
PATIENCE_MS = 50
"""how long a line may wait for its reader; the service waits with it"""
OFTEN, OFTEN_S = 20, 60.0
"""so many lines about connections that were closed, in so much time: a scanner shall not fill a disk"""


class Teller:
    """Says what happens. Who does not read, or reads slowly, loses lines and holds up nothing."""

    def __init__(
        self, words: LineWriter, data: LineWriter | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """``data``: where objects go, if anybody wants them."""
        self._words, self._data, self._now = words, data, now
        self._often_since_s = 0.0
        self._often = self._unsaid = 0

    def tell(self, kind: str, sentence: str, /, **fields: Any) -> None:
        """Say what happened, in words (empty: nothing) and as an object of type ``kind``."""
        if sentence:
            line = one_line(f"pagethrift: {sentence}", LONGEST_LINE)
            self._words.write(f"{line}\n".encode(errors="backslashreplace"), PATIENCE_MS)
        if self._data:
            found = {"type": kind, "service": VERSION, "time": round(self._now(), 3), **fields}
            self._data.write(f"{json.dumps(found)}\n".encode(), PATIENCE_MS)

    def refused(self, peer: str, why: str, destination: str = "") -> None:
        """Say that a connection was closed; beyond OFTEN of them only how many."""
        now_s = self._now()
        if now_s - self._often_since_s > OFTEN_S:
            unsaid, self._often, self._unsaid, self._often_since_s = self._unsaid, 0, 0, now_s
            if unsaid:
                sentence = f"closed {unsaid} more connections meanwhile"
                self.tell("refused", sentence, count=unsaid)
        self._often += 1
        if self._often > OFTEN:
            self._unsaid += 1
            return
        self.tell("refused", f"closed a connection from {peer}: {why}", peer=peer, destination=destination,
                  reason=why, count=1)  # fmt: skip
