"""The kernel that cuts page records out of a receive buffer, many at a time."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from pagethrift.kernels import Word, kernel, load64_be
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, Kind
from pagethrift.stream.wire import (
    CONTINUE_FLAG,
    EOS_FLAG,
    FLAG_BITS,
    FLUSH_FLAG,
    PAGE_FLAG,
    PAGE_SHIFT,
    WORD_BYTES,
    XBZRLE_ENCODING,
    XBZRLE_FLAG,
    XBZRLE_HEAD_BYTES,
    ZERO_FLAG,
)  # fmt: skip


class Stop(IntEnum):
    """Why the cutter stopped; the record it stopped at is not consumed."""

    NEED_DATA = 0
    ROOM = 1
    """the batch is full"""
    EOS = 2
    FLUSH = 3
    """MULTIFD_FLUSH"""
    BAD_FLAGS = 4
    UNKNOWN_BLOCK = 5
    NO_BLOCK = 6
    """CONTINUE before any block was named"""
    OUT_OF_RANGE = 7
    BAD_ZERO = 8
    """a ZERO record whose fill byte is not 0"""
    BAD_XBZRLE = 9
    REPEATED = 10
    """the page is already in this batch: it begins the next one"""


KIND_BITS = FLAG_BITS & ~CONTINUE_FLAG


@kernel
def _find_block(buffer: U8, start: int, length: int, names: U8, name_lengths: I64) -> int:
    for block in range(len(name_lengths)):
        if name_lengths[block] != length:
            continue
        same = True
        for i in range(length):
            if names[block, i] != buffer[start + i]:
                same = False
                break
        if same:
            return block
    return -1


@kernel
def remember(seen: I64, page: int) -> bool:
    """Add a page to an open-addressing set (size a power of two); False when it was in the set already."""
    mask = len(seen) - 1
    slot = ((page * 0x9E3779B1) >> 12) & mask
    while seen[slot] != -1:
        if seen[slot] == page:
            return False
        slot = (slot + 1) & mask
    seen[slot] = page
    return True


@kernel
def cut_records(
    buffer: U8,
    position: int,
    end: int,
    block: int,
    most_bytes: int,
    names: U8,
    name_lengths: I64,
    first_pages: I64,
    pages: I64,
    kinds: U8,
    positions: I64,
    lengths: I32,
    seen: I64,
) -> tuple[int, int, int, int]:
    """Cut records from ``buffer[position:end]`` into the arrays, each page at most once.

    ``block`` is the block CONTINUE refers to (-1: none yet). The batch is full when the arrays are full
    or ``most_bytes`` of records were cut. ``seen`` is scratch space: a power of two, at least twice as
    long as the arrays. Returns (records, new position, new block, Stop).
    """
    start = position
    count = 0
    # QEMU mostly sends pages in ascending order: while it does, no page can be in the batch already.
    ascending = True
    while True:
        if count == len(pages) or position - start >= most_bytes:
            return count, position, block, Stop.ROOM.value
        if position + WORD_BYTES > end:
            return count, position, block, Stop.NEED_DATA.value
        word = load64_be(buffer, position)
        flags = word & np.uint64(FLAG_BITS)
        index = np.int64(word >> np.uint64(PAGE_SHIFT))
        kind = flags & np.uint64(KIND_BITS)
        at = position + WORD_BYTES
        if kind != PAGE_FLAG and kind != ZERO_FLAG and kind != XBZRLE_FLAG:
            if flags == EOS_FLAG:
                return count, position, block, Stop.EOS.value
            if flags == FLUSH_FLAG:
                return count, position, block, Stop.FLUSH.value
            return count, position, block, Stop.BAD_FLAGS.value
        here: Word = block
        if flags & np.uint64(CONTINUE_FLAG):
            if here < 0:
                return count, position, block, Stop.NO_BLOCK.value
        else:
            if at + 1 > end:
                return count, position, block, Stop.NEED_DATA.value
            name_length: Word = np.int64(buffer[at])
            if at + 1 + name_length > end:
                return count, position, block, Stop.NEED_DATA.value
            here = _find_block(buffer, at + 1, name_length, names, name_lengths)
            if here < 0:
                return count, position, block, Stop.UNKNOWN_BLOCK.value
            at += 1 + name_length
        page: Word = first_pages[here] + index
        if page >= first_pages[here + 1]:
            return count, position, block, Stop.OUT_OF_RANGE.value
        if kind == PAGE_FLAG:
            length: Word = PAGE_BYTES
            code = Kind.PAGE
        elif kind == ZERO_FLAG:
            if at + 1 > end:
                return count, position, block, Stop.NEED_DATA.value
            if buffer[at] != 0:
                return count, position, block, Stop.BAD_ZERO.value
            length = 1
            code = Kind.ZERO
        else:
            if at + XBZRLE_HEAD_BYTES > end:
                return count, position, block, Stop.NEED_DATA.value
            length = (np.int64(buffer[at + 1]) << 8) | np.int64(buffer[at + 2])
            if buffer[at] != XBZRLE_ENCODING or length > PAGE_BYTES:
                return count, position, block, Stop.BAD_XBZRLE.value
            at += XBZRLE_HEAD_BYTES
            code = Kind.XBZRLE
        if at + length > end:
            return count, position, block, Stop.NEED_DATA.value
        if ascending and count > 0 and page <= pages[count - 1]:
            ascending = False
            seen[:] = -1
            for i in range(count):
                remember(seen, pages[i])
        if not ascending and not remember(seen, page):
            return count, position, block, Stop.REPEATED.value
        pages[count] = page
        kinds[count] = code
        positions[count] = at
        lengths[count] = length
        count += 1
        block = here
        position = at + length
