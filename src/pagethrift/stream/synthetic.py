"""Builds legal streams from pages: for tests, benchmarks and warming up kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pagethrift.model.pages import PAGE_BYTES, U8
from pagethrift.stream.wire import MAGIC, RAM_VERSION, VERSION, RamFlag, Section

RAM_ID = 2
TAIL = bytes([Section.FULL]) + b"device state is opaque" + bytes([Section.EOF])


class StreamBuilder:
    """Writes a stream piece by piece, as QEMU does without XBZRLE and multifd.

    ``blocks``: (name, pages) pairs. ``page`` takes a page's content, or b"" for ZERO.
    """

    def __init__(self, blocks: Iterable[tuple[str, int]] = (("pc.ram", 16),)) -> None:
        self.blocks = [(name.encode(), pages) for name, pages in blocks]
        self.parts: list[bytes | U8] = []
        self._last = -1
        head = MAGIC.to_bytes(4, "big") + VERSION.to_bytes(4, "big")
        machine = b"synthetic"
        head += bytes([Section.CONFIGURATION]) + len(machine).to_bytes(4, "big") + machine
        head += bytes([Section.START]) + RAM_ID.to_bytes(4, "big") + b"\x03ram" + bytes(4)
        head += RAM_VERSION.to_bytes(4, "big")
        total = sum(pages for _, pages in self.blocks) * PAGE_BYTES
        head += (total | RamFlag.MEM_SIZE).to_bytes(8, "big")
        for name, pages in self.blocks:
            head += bytes([len(name)]) + name + (pages * PAGE_BYTES).to_bytes(8, "big")
        self.parts.append(head)
        self.end_body()

    def begin_body(self, last: bool = False) -> None:
        """Begin a PART (or END) section."""
        self.parts.append(bytes([Section.END if last else Section.PART]) + RAM_ID.to_bytes(4, "big"))

    def end_body(self) -> None:
        """End the section."""
        self.parts.append(
            int(RamFlag.EOS).to_bytes(8, "big") + bytes([Section.FOOTER]) + RAM_ID.to_bytes(4, "big")
        )

    def page(self, block: int, page: int, content: bytes | U8) -> None:
        """Add one page record."""
        flag = RamFlag.PAGE if len(content) else RamFlag.ZERO
        self._head(block, page, flag)
        self.parts.append(content if len(content) else b"\0")

    def delta(self, block: int, page: int, payload: bytes) -> None:
        """Add one XBZRLE record."""
        self._head(block, page, RamFlag.XBZRLE)
        self.parts.append(b"\x01" + len(payload).to_bytes(2, "big") + payload)

    def finish(self, tail: bytes = TAIL) -> bytes:
        """Return the whole stream, with device state after RAM's last section."""
        self.parts.append(tail)
        return b"".join(bytes(part) if isinstance(part, np.ndarray) else part for part in self.parts)

    def _head(self, block: int, page: int, flag: RamFlag) -> None:
        word = page * PAGE_BYTES | flag
        if block == self._last:
            self.parts.append((word | RamFlag.CONTINUE).to_bytes(8, "big"))
        else:
            name = self.blocks[block][0]
            self.parts.append(word.to_bytes(8, "big") + bytes([len(name)]) + name)
        self._last = block
