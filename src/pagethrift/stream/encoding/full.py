"""A PAGE record: all 4096 bytes."""

from __future__ import annotations

from pagethrift.kernels import copy_bytes, kernel
from pagethrift.model.pages import I64, PAGE_BYTES, U8
from pagethrift.stream.encoding.head import HEAD_BYTES, put_head
from pagethrift.stream.wire import PAGE_FLAG

FULL_BYTES = HEAD_BYTES + PAGE_BYTES


@kernel
def put_full(
    buffer: U8, position: int,
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64,
) -> int:  # fmt: skip
    """Write the page at ``buffer[position:]`` and return the position after the record."""
    at = put_head(out, at, offset, PAGE_FLAG, block, last, names, name_lengths)
    copy_bytes(out, at, buffer, position, PAGE_BYTES)
    return at + PAGE_BYTES
