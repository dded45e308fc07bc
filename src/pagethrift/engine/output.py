"""What the thinner writes into, and what it says of itself."""

from __future__ import annotations

from enum import Enum

import numpy as np

from pagethrift.model.pages import U8
from pagethrift.stream.reader import BATCH_BYTES, BATCH_PAGES, BUFFER_BYTES
from pagethrift.stream.writer import FULL_BYTES, PAGE_ROOM, ZERO_ROOM

OUTPUT_BYTES = BUFFER_BYTES + (BATCH_BYTES // FULL_BYTES + 1) * PAGE_ROOM + BATCH_PAGES * ZERO_ROOM
"""one receive buffer's worth, and room for the batch that fills it"""


class Output:
    """A reusable output buffer; holds at least one batch (``room_bytes``)."""

    def __init__(self, capacity_bytes: int = OUTPUT_BYTES) -> None:
        self.data: U8 = np.empty(capacity_bytes, np.uint8)
        self.size = 0

    def view(self) -> memoryview:
        """Return what was written."""
        return self.data.data[: self.size]

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return len(self.data) - self.size


class Progress(Enum):
    """Why ``run`` returned."""

    NEED_INPUT = "need input"
    OUTPUT_FULL = "output full"
    TAKEN = "taken"
    """a multifd channel's batch was used: give that channel to its thread again, then call on"""
    ENDED = "ended"


class Mode(Enum):
    """What the thinner is doing with bytes."""

    PREAMBLE = "preamble"
    RAM = "ram"
    TAIL = "tail"
    PIPE = "pipe"
