"""RAM blocks and page batches: the data that all floors exchange."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

PAGE_BYTES = 4096
"""target page size of x86-64; a stream with another size is refused"""

Bools: TypeAlias = npt.NDArray[np.bool_]
U8: TypeAlias = npt.NDArray[np.uint8]
U16: TypeAlias = npt.NDArray[np.uint16]
I32: TypeAlias = npt.NDArray[np.int32]
U32: TypeAlias = npt.NDArray[np.uint32]
I64: TypeAlias = npt.NDArray[np.int64]
U64: TypeAlias = npt.NDArray[np.uint64]
F64: TypeAlias = npt.NDArray[np.float64]


def read_only(array: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


class Kind(IntEnum):
    """How a page record carries its page on the wire."""

    ZERO = 0
    """the page is all zero; the payload is not kept"""
    PAGE = 1
    """4096 bytes"""
    XBZRLE = 2
    """runs of unchanged and new bytes, applied to the destination's page"""


@dataclass(frozen=True, slots=True)
class Block:
    """One QEMU RAM block as the stream announces it."""

    name: bytes
    used_bytes: int
    first_page: int
    """index of its first page in the numbering over all blocks, in stream order"""

    @property
    def pages(self) -> int:
        """Number of pages, the last one possibly partial."""
        return -(-self.used_bytes // PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class BlockTable:
    """All RAM blocks of a migration; the names are arrays, for the kernels."""

    blocks: tuple[Block, ...]
    names: U8
    """shape (blocks, 256): names, padded with zeros"""
    name_lengths: I64
    first_pages: I64
    """shape (blocks + 1,): first page of each block; at the end the total"""

    @classmethod
    def of(cls, blocks: list[tuple[bytes, int]]) -> BlockTable:
        """Build the table from (name, used bytes) pairs in stream order."""
        rows: list[Block] = []
        names = np.zeros((max(1, len(blocks)), 256), np.uint8)
        first_pages = np.zeros(len(blocks) + 1, np.int64)
        for index, (name, used_bytes) in enumerate(blocks):
            block = Block(name, used_bytes, int(first_pages[index]))
            names[index, : len(name)] = np.frombuffer(name, np.uint8)
            first_pages[index + 1] = block.first_page + block.pages
            rows.append(block)
        lengths = np.array([len(name) for name, _ in blocks], np.int64)
        return cls(tuple(rows), names, lengths, first_pages)

    @property
    def total_pages(self) -> int:
        """Pages of all blocks together."""
        return int(self.first_pages[-1])


@dataclass(frozen=True, slots=True)
class PageBatch:
    """Many page records as parallel arrays of one length n.

    ``position`` points into ``buffer``. All stay valid until the reader is asked for its next event or
    given room for more bytes.
    """

    page: I64
    """page index over all blocks"""
    kind: U8
    """values of Kind"""
    position: I64
    """where the payload (page or XBZRLE runs) starts in ``buffer``"""
    length: I32
    """payload bytes"""
    buffer: U8

    def __len__(self) -> int:
        return len(self.page)

    def part(self, start: int, stop: int) -> PageBatch:
        """Return the records start..stop-1 as views of the same buffer."""
        cut = slice(start, stop)
        return PageBatch(self.page[cut], self.kind[cut], self.position[cut], self.length[cut], self.buffer)
