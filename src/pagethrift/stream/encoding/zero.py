"""A ZERO record: the page is all zero."""

from __future__ import annotations

from pagethrift.kernels import kernel
from pagethrift.model.pages import I64, U8
from pagethrift.stream.encoding.head import HEAD_BYTES, put_head
from pagethrift.stream.wire import ZERO_FLAG

ZERO_BYTES = HEAD_BYTES + 1


@kernel
def put_zero(out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64) -> int:
    """Write the record and return the position after it."""
    at = put_head(out, at, offset, ZERO_FLAG, block, last, names, name_lengths)
    out[at] = 0
    return at + 1
