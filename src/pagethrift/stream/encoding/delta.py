"""An XBZRLE record with the subpages that differ from the page the destination holds, or the source's own."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import Word, copy_bytes, kernel
from pagethrift.model.pages import I64, PAGE_BYTES, U8
from pagethrift.stream.encoding.head import HEAD_BYTES, put_payload_length, put_xbzrle_head
from pagethrift.stream.wire import XBZRLE_HEAD_BYTES
from pagethrift.stream.xbzrle import put_run

DELTA_HEAD_BYTES = HEAD_BYTES + XBZRLE_HEAD_BYTES


@kernel
def delta_bytes(mask: int, subpage_bytes: int) -> int:
    """Return the bytes of the payload with the subpages of ``mask``: two numbers of two bytes a run.

    The "0 unchanged" of a run that begins the page takes one byte.
    """
    runs = 0
    changed = 0
    before: Word = np.uint32(0)
    for subpage in range(PAGE_BYTES // subpage_bytes):
        bit: Word = (mask >> np.uint32(subpage)) & np.uint32(1)
        if bit and not before:
            runs += 1
        changed += bit
        before = bit
    return changed * subpage_bytes + 4 * runs - (mask & 1)


@kernel
def put_delta(
    buffer: U8, position: int, mask: int, subpage_bytes: int,
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64,
) -> int:  # fmt: skip
    """Write the subpages of ``mask`` and return the position after the record."""
    start = put_xbzrle_head(out, at, offset, block, last, names, name_lengths)
    at = start
    subpages = PAGE_BYTES // subpage_bytes
    unchanged = 0
    subpage = 0
    while subpage < subpages:
        if not (mask >> np.uint32(subpage)) & np.uint32(1):
            unchanged += subpage_bytes
            subpage += 1
            continue
        first = subpage
        while subpage < subpages and (mask >> np.uint32(subpage)) & np.uint32(1):
            subpage += 1
        count = (subpage - first) * subpage_bytes
        at = put_run(out, at, unchanged, buffer, position + first * subpage_bytes, count)
        unchanged = 0
    put_payload_length(out, start, at)
    return at


@kernel
def put_source_delta(
    buffer: U8, position: int, length: int,
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64,
) -> int:  # fmt: skip
    """Write the payload of a source's record as it came and return the position after the record."""
    start = put_xbzrle_head(out, at, offset, block, last, names, name_lengths)
    copy_bytes(out, start, buffer, position, length)
    put_payload_length(out, start, start + length)
    return start + length
