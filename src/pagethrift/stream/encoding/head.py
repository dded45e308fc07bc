"""The head of a page record: a word with offset and flags, and the block's name unless CONTINUE is set."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import kernel, store64_be
from pagethrift.model.pages import I64, U8
from pagethrift.stream.wire import (
    CONTINUE_FLAG,
    WORD_BYTES,
    XBZRLE_ENCODING,
    XBZRLE_FLAG,
    XBZRLE_HEAD_BYTES,
)

HEAD_BYTES = WORD_BYTES
"""bytes of the head of a record in the same block as the record before"""


@kernel
def put_head(
    out: U8, at: int, offset: int, flag: int, block: int, last: int, names: U8, name_lengths: I64
) -> int:
    """Write a record's head; ``last`` is the block CONTINUE refers to. Returns the position after it."""
    word = np.uint64(offset) | np.uint64(flag)
    if block == last:
        store64_be(out, at, word | np.uint64(CONTINUE_FLAG))
        return at + HEAD_BYTES
    store64_be(out, at, word)
    length = int(name_lengths[block])
    out[at + HEAD_BYTES] = length
    for i in range(length):
        out[at + HEAD_BYTES + 1 + i] = names[block, i]
    return at + HEAD_BYTES + 1 + length


@kernel
def put_xbzrle_head(
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64
) -> int:
    """Write the head of an XBZRLE record; return the position where its payload begins."""
    at = put_head(out, at, offset, XBZRLE_FLAG, block, last, names, name_lengths)
    out[at] = XBZRLE_ENCODING
    return at + XBZRLE_HEAD_BYTES


@kernel
def put_payload_length(out: U8, start: int, stop: int) -> None:
    """Write the length of the XBZRLE payload in ``out[start:stop]`` into its head."""
    out[start - 2] = (stop - start) >> 8
    out[start - 1] = (stop - start) & 0xFF


@kernel
def block_of(page: int, guess: int, first_pages: I64) -> int:
    """Return the index of a page's block; ``guess`` is tried first (-1: none)."""
    if guess >= 0 and first_pages[guess] <= page < first_pages[guess + 1]:
        return guess
    low = 0
    high = len(first_pages) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if first_pages[middle] <= page:
            low = middle
        else:
            high = middle
    return low
