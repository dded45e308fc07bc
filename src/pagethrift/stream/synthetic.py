"""Building legal streams from pages, for tests, benchmarks and warming up kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pagethrift.model.pages import PAGE_BYTES, U8
from pagethrift.stream.packets import HANDSHAKE_BYTES, MULTIFD_VERSION, NAME_BYTES, PACKET_PAGES
from pagethrift.stream.wire import MAGIC, MULTIFD_MAGIC, RAM_VERSION, VERSION, Command, RamFlag, Section

RAM_ID = 2
TAIL = bytes([Section.FULL]) + b"device state is opaque" + bytes([Section.EOF])


class StreamBuilder:
    """Writes a stream piece by piece, as QEMU does without XBZRLE.

    ``blocks``: (name, pages) pairs. ``page`` takes a page's content, or b"" for ZERO.
    ``flush``: RAM's first section carries a MULTIFD_FLUSH. ``return_path``: the destination is to answer.
    """

    def __init__(
        self,
        blocks: Iterable[tuple[str, int]] = (("pc.ram", 16),),
        flush: bool = False,
        return_path: bool = False,
    ) -> None:
        self.blocks = [(name.encode(), pages) for name, pages in blocks]
        self.parts: list[bytes | U8] = []
        self._last = -1
        head = MAGIC.to_bytes(4, "big") + VERSION.to_bytes(4, "big")
        machine = b"synthetic"
        head += bytes([Section.CONFIGURATION]) + len(machine).to_bytes(4, "big") + machine
        if return_path:
            head += bytes([Section.COMMAND]) + Command.OPEN_RETURN_PATH.to_bytes(2, "big") + bytes(2)
        head += bytes([Section.START]) + RAM_ID.to_bytes(4, "big") + b"\x03ram" + bytes(4)
        head += RAM_VERSION.to_bytes(4, "big")
        total = sum(pages for _, pages in self.blocks) * PAGE_BYTES
        head += (total | RamFlag.MEM_SIZE).to_bytes(8, "big")
        for name, pages in self.blocks:
            head += bytes([len(name)]) + name + (pages * PAGE_BYTES).to_bytes(8, "big")
        self.parts.append(head)
        if flush:
            self.flush()
        self.end_body()

    def begin_body(self, last: bool = False) -> None:
        """Begin a PART (or END) section."""
        self.parts.append(bytes([Section.END if last else Section.PART]) + RAM_ID.to_bytes(4, "big"))

    def end_body(self) -> None:
        """End the section."""
        self.parts.append(
            int(RamFlag.EOS).to_bytes(8, "big") + bytes([Section.FOOTER]) + RAM_ID.to_bytes(4, "big")
        )

    def flush(self) -> None:
        """Add MULTIFD_FLUSH."""
        self.parts.append(int(RamFlag.MULTIFD_FLUSH).to_bytes(8, "big"))

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


def handshake(number: int, uuid: bytes = bytes(16)) -> bytes:
    """Return a multifd channel's first 64 bytes."""
    return (_numbers(MULTIFD_MAGIC, MULTIFD_VERSION) + uuid + bytes([number])).ljust(HANDSHAKE_BYTES, b"\0")


def packet(
    block: str = "",
    pages: Iterable[tuple[int, bytes | U8]] = (),
    zero: Iterable[int] = (),
    flags: int = 0,
    stale_bytes: int = 0,
    pack: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """Return a multifd packet: ``pages`` are (page of the block, content), ``zero`` zero pages.

    ``stale_bytes``: the length that QEMU before 9.0 leaves in a packet without pages. ``pack`` compresses
    the pages; the caller sets the flag that tells.
    """
    normal, zeros = list(pages), list(zero)
    offsets = [page * PAGE_BYTES for page, _ in normal] + [page * PAGE_BYTES for page in zeros]
    data = b"".join(bytes(content) for _, content in normal)
    data = pack(data) if pack and normal else data
    head = _numbers(MULTIFD_MAGIC, MULTIFD_VERSION, flags, PACKET_PAGES)
    head += _numbers(len(normal), len(data) or stale_bytes) + bytes(8) + _numbers(len(zeros)) + bytes(28)
    head += block.encode().ljust(NAME_BYTES, b"\0")
    head += b"".join(offset.to_bytes(8, "big") for offset in offsets)
    return head + bytes(8 * (PACKET_PAGES - len(offsets))) + data


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)
