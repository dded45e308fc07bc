"""XBZRLE: runs of "unchanged" and "new bytes" (QEMU migration/xbzrle.c, docs/xbzrle.txt).

Payload: repeat { uleb128 unchanged, uleb128 new, the new bytes }; a number is one
byte below 128, else two (0x80 | low seven bits, then the next seven). A new run is
never empty; an unchanged run may be empty only at the start of the page.
"""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import Word, copy_bytes, kernel, load64
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, Kind

GAP_BYTES = 4
"""a shorter unchanged gap inside new bytes costs more as runs than as bytes"""


@kernel
def put_uleb(out: U8, at: int, value: int) -> int:
    """Write a run length (0 .. 16383) and return the position after it."""
    if value < 0x80:
        out[at] = value
        return at + 1
    out[at] = 0x80 | (value & 0x7F)
    out[at + 1] = value >> 7
    return at + 2


@kernel
def put_run(out: U8, at: int, unchanged: int, origin: U8, start: int, count: int) -> int:
    """Write one (unchanged, new) pair with ``count`` new bytes and return the position after it."""
    at = put_uleb(out, at, unchanged)
    at = put_uleb(out, at, count)
    copy_bytes(out, at, origin, start, count)
    return at + count


@kernel
def encode_delta(old: U8, old_at: int, new: U8, new_at: int, out: U8, at: int, limit: int) -> int:
    """Encode the page at ``new[new_at:]`` against ``old[old_at:]`` into ``out[at:]``.

    Returns the position after the payload (``at`` itself for equal pages), or -1 when
    the payload would pass ``limit`` bytes. ``out`` needs room for ``limit`` + 4100 bytes.
    """
    begin = at
    done = 0
    i = 0
    while i < PAGE_BYTES:
        while i + 8 <= PAGE_BYTES and load64(old, old_at + i) == load64(new, new_at + i):
            i += 8
        while i < PAGE_BYTES and old[old_at + i] == new[new_at + i]:
            i += 1
        if i == PAGE_BYTES:
            break
        start = i
        last = i
        while i < PAGE_BYTES and i - last <= GAP_BYTES:
            if old[old_at + i] != new[new_at + i]:
                last = i
            i += 1
        at = put_run(out, at, start - done, new, new_at + start, last + 1 - start)
        if at - begin > limit:
            return -1
        done = last + 1
        i = done
    return at


@kernel
def encode_sparse(new: U8, new_at: int, out: U8, at: int, limit: int) -> int:
    """Encode the page at ``new[new_at:]`` against an all-zero page, in words of 8 bytes.

    Returns the same as ``encode_delta``.
    """
    begin = at
    done = 0
    i = 0
    while i < PAGE_BYTES:
        while i < PAGE_BYTES and load64(new, new_at + i) == 0:
            i += 8
        if i == PAGE_BYTES:
            break
        start = i
        while i < PAGE_BYTES and load64(new, new_at + i) != 0:
            i += 8
        if at - begin + i - start > limit:
            return -1
        at = put_run(out, at, start - done, new, new_at + start, i - start)
        done = i
    return at if at - begin <= limit else -1


@kernel
def apply_delta(payload: U8, start: int, length: int, page: U8, page_at: int) -> int:
    """Apply a payload to the page at ``page[page_at:]`` as QEMU's loader does.

    Returns 0, or one plus the position in the payload where the format is broken.
    """
    i = 0
    done = 0
    while i < length:
        for turn in range(2):
            if length - i < 2:
                return i + 1
            count: Word = np.int64(payload[start + i])
            step = 1
            if count & 0x80:
                if payload[start + i + 1] & 0x80:
                    return i + 1
                count = (count & 0x7F) | (np.int64(payload[start + i + 1]) << 7)
                step = 2
            if count == 0 and (turn == 1 or i > 0):
                return i + 1
            i += step
            if turn == 0:
                done += count
                if done > PAGE_BYTES:
                    return i + 1
            else:
                if done + count > PAGE_BYTES or i + count > length:
                    return i + 1
                copy_bytes(page, page_at + done, payload, start + i, count)
                i += count
                done += count
    return 0


@kernel
def first_broken(buffer: U8, positions: I64, kinds: U8, lengths: I32, scratch: U8) -> int:
    """Return the index of the first record whose XBZRLE payload is broken, or -1; ``scratch`` is a page."""
    for i in range(len(kinds)):
        if kinds[i] == Kind.XBZRLE and apply_delta(buffer, positions[i], lengths[i], scratch, 0):
            return i
    return -1
