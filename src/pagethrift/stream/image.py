"""The oracle: the RAM of a destination after loading a stream.

``image(thin(stream)) == image(stream)`` is the project's first invariant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pagethrift.errors import StreamError
from pagethrift.kernels import copy_bytes, kernel
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, Block, BlockTable, Kind
from pagethrift.stream.events import Pages, RamBegins, RamEnds, Raw
from pagethrift.stream.reader import StreamReader
from pagethrift.stream.xbzrle import apply_delta


@kernel
def _apply(memory: U8, pages: I64, kinds: U8, positions: I64, lengths: I32, buffer: U8) -> int:
    for i in range(len(pages)):
        at = pages[i] * PAGE_BYTES
        if kinds[i] == Kind.PAGE:
            copy_bytes(memory, at, buffer, positions[i], PAGE_BYTES)
        elif kinds[i] == Kind.ZERO:
            memory[at : at + PAGE_BYTES] = 0
        elif apply_delta(buffer, positions[i], lengths[i], memory, at):
            return i
    return -1


class Image:
    """A destination's RAM, built from a stream as QEMU's loader would.

    ``before`` gives a block's content before the stream arrives (uint8, of the block's size;
    None means zeros): the destination fills ROM blocks itself.
    """

    def __init__(self, before: Callable[[Block], U8 | None] | None = None) -> None:
        self._before = before
        self._reader = StreamReader()
        self.table: BlockTable | None = None
        self.memory: U8 = np.zeros(0, np.uint8)
        """all blocks, page after page, in stream order"""
        self.ram_over = False
        self.tail = bytearray()
        """bytes after RAM's last section"""

    def feed(self, data: bytes | memoryview) -> None:
        """Apply a piece of the stream (empty: the end). Raises StreamError."""
        for event in self._reader.feed(data):
            match event:
                case RamBegins(table):
                    self._begin(table)
                case Pages(batch):
                    bad = _apply(
                        self.memory, batch.page, batch.kind, batch.position, batch.length, batch.buffer
                    )
                    if bad >= 0:
                        page = int(batch.page[bad])
                        raise StreamError(
                            self._reader.offset, "an XBZRLE payload", f"a broken one for page {page}"
                        )
                case RamEnds():
                    self.ram_over = True
                case Raw(data=raw) if self.ram_over:
                    self.tail += raw
                case _:
                    pass

    def block(self, name: str) -> U8:
        """Return the content of one RAM block."""
        assert self.table is not None
        for block in self.table.blocks:
            if block.name == name.encode():
                start = block.first_page * PAGE_BYTES
                return self.memory[start : start + block.used_bytes]
        raise KeyError(name)

    def _begin(self, table: BlockTable) -> None:
        self.table = table
        self.memory = np.zeros(table.total_pages * PAGE_BYTES, np.uint8)
        for block in table.blocks:
            content = self._before(block) if self._before else None
            if content is not None:
                start = block.first_page * PAGE_BYTES
                self.memory[start : start + block.used_bytes] = content


def image(stream: bytes | Iterable[bytes], before: Callable[[Block], U8 | None] | None = None) -> Image:
    """Return a destination's RAM after loading a whole stream. Raises StreamError."""
    result = Image(before)
    for piece in [stream] if isinstance(stream, bytes | bytearray | memoryview) else stream:
        if len(piece):
            result.feed(piece)
    result.feed(b"")
    return result
