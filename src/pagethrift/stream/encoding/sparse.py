"""An XBZRLE record against an all-zero page: after a ZERO record, or alone if the page is held as zero."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import kernel, load64
from pagethrift.model.pages import I64, PAGE_BYTES, U8
from pagethrift.stream.encoding.head import HEAD_BYTES, put_payload_length, put_xbzrle_head
from pagethrift.stream.encoding.zero import put_zero
from pagethrift.stream.xbzrle import encode_sparse

WORDS = PAGE_BYTES // 8
FEWEST_ZERO_WORDS = 4
"""with fewer zero words the record is longer than a full page"""


@kernel
def sparse_bytes(buffer: U8, at: int) -> int:
    """Return the bytes of the payload for the page at ``buffer[at:]``, 0 for an all-zero page."""
    zeros = 0
    for w in range(0, PAGE_BYTES, 8):
        if load64(buffer, at + w) == 0:
            zeros += 1
    if zeros < FEWEST_ZERO_WORDS:
        return PAGE_BYTES
    runs = 0
    before = np.uint64(0)
    for w in range(0, PAGE_BYTES, 8):
        word = load64(buffer, at + w)
        if word != 0 and before == 0:
            runs += 1
        before = word
    return 8 * (WORDS - zeros) + 4 * runs


@kernel
def put_from_zero(
    buffer: U8, position: int,
    out: U8, begin: int, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64,
) -> int:  # fmt: skip
    """Write the record at ``at``; return the position after it, -1 if a full page would be shorter.

    ``begin``: where the page's records began, before a ZERO record.
    """
    start = put_xbzrle_head(out, at, offset, block, last, names, name_lengths)
    stop = encode_sparse(buffer, position, out, start, PAGE_BYTES - (start - begin - HEAD_BYTES))
    if stop >= 0:
        put_payload_length(out, start, stop)
    return stop


@kernel
def put_sparse(
    buffer: U8, position: int,
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64,
) -> int:  # fmt: skip
    """Write a ZERO record and the page against it; return the same as ``put_from_zero``."""
    begin = at
    at = put_zero(out, at, offset, block, last, names, name_lengths)
    return put_from_zero(buffer, position, out, begin, at, offset, block, block, names, name_lengths)
