"""The thinner's output, and its state."""

from __future__ import annotations

import itertools
from collections import deque
from enum import Enum

import numpy as np

from pagethrift.model.pages import U8
from pagethrift.stream.encoding.full import FULL_BYTES
from pagethrift.stream.input import Received
from pagethrift.stream.reader import BATCH_BYTES, BATCH_PAGES, BUFFER_BYTES
from pagethrift.stream.writer import PAGE_ROOM, ZERO_ROOM

OUTPUT_BYTES = BUFFER_BYTES + (BATCH_BYTES // FULL_BYTES + 1) * PAGE_ROOM + BATCH_PAGES * ZERO_ROOM
"""the bytes of one receive buffer, and room for the batch that fills it"""
IOV_MAX = 1024
"""most pieces in one vectored write (Linux, limits.h)"""


class Output:
    """A reusable output: bytes written to ``data`` and, between them, pieces of receive buffers.

    ``data`` holds at least one batch (``room_bytes``). One thread makes, clears and fills it.
    """

    def __init__(self, capacity_bytes: int = OUTPUT_BYTES) -> None:
        self.data: U8 = np.empty(capacity_bytes, np.uint8)
        self.size = 0
        """bytes of ``data`` in use"""
        self.borrowed_bytes = 0
        self._pieces: list[memoryview] = []
        self._marks: list[tuple[int, int]] = []
        """(index of the first piece after it, number of the SYNC) of each sync"""
        self._cut = 0
        self._lenders: list[Received] = []

    @property
    def total_bytes(self) -> int:
        """Bytes to send."""
        return self.size + self.borrowed_bytes

    @property
    def free(self) -> int:
        """Bytes of ``data`` that are free."""
        return len(self.data) - self.size

    def append(self, data: bytes) -> None:
        """Add a few bytes; ``free`` has room for them."""
        self.data[self.size : self.size + len(data)] = np.frombuffer(data, np.uint8)
        self.size += len(data)

    def borrow(self, at: int, lender: Received, start: int, stop: int) -> None:
        """Insert a piece of a receive buffer behind ``data[:at]``; it stays borrowed until ``clear``."""
        self._cut_at(at)
        self._pieces.append(lender.data.data[start:stop])
        self.borrowed_bytes += stop - start
        self._lenders.append(lender)
        lender.loans += 1

    def mark_sync(self, number: int) -> None:
        """Let what follows be sent only when every compressed channel has written SYNC ``number``."""
        self._cut_at(self.size)
        self._marks.append((len(self._pieces), number))

    def pieces(self) -> deque[memoryview]:
        """Return the pieces to send, in order."""
        self._cut_at(self.size)
        return deque(self._pieces)

    def parts(self) -> list[tuple[int, deque[memoryview]]]:
        """Return the pieces as (number of the SYNC to wait for, 0 for none; pieces after it), in order."""
        self._cut_at(self.size)
        begins = [(0, 0), *self._marks]
        ends = [index for index, _ in self._marks] + [len(self._pieces)]
        return [
            (number, deque(self._pieces[begin:end]))
            for (begin, number), end in zip(begins, ends, strict=True)
        ]

    def clear(self) -> None:
        """Empty the output and give borrowed buffers back."""
        for lender in self._lenders:
            lender.loans -= 1
        self._lenders.clear()
        self._pieces.clear()
        self._marks.clear()
        self.size = self.borrowed_bytes = self._cut = 0

    def _cut_at(self, at: int) -> None:
        if at > self._cut:
            self._pieces.append(self.data.data[self._cut : at])
            self._cut = at


def first_bytes(pieces: deque[memoryview], most_bytes: int) -> list[memoryview]:
    """Return the first pieces for one vectored write, cut to ``most_bytes`` in total."""
    chosen: list[memoryview] = []
    for piece in itertools.islice(pieces, IOV_MAX):
        chosen.append(piece[:most_bytes])
        most_bytes -= len(chosen[-1])
        if not most_bytes:
            break
    return chosen


def drop_bytes(pieces: deque[memoryview], count: int) -> None:
    """Remove the first ``count`` bytes, which were written, from ``pieces``."""
    while count >= len(pieces[0]):
        count -= len(pieces.popleft())
        if not pieces:
            return
    pieces[0] = pieces[0][count:]


class PauseReason(Enum):
    """Why ``run`` returned."""

    NEED_INPUT = "need input"
    OUTPUT_FULL = "output full"
    PROBE = "probe"
    """the destination must show how it syncs: call ``Thinner.probed`` first"""
    TAKEN = "taken"
    """a multifd channel's batch was used: give that channel back to its thread and call again"""
    ENDED = "ended"


class StreamPhase(Enum):
    """The part of the stream that the thinner is in."""

    PREAMBLE = "preamble"
    RAM = "ram"
    TAIL = "tail"
    PIPE = "pipe"
