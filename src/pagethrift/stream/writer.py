"""The writer: pages and methods in, legal page records out, with its own CONTINUE flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.kernels import Word, kernel, load64_be
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8, U32, BlockTable, Kind, PageBatch
from pagethrift.stream.encoding.delta import put_delta, put_source_delta
from pagethrift.stream.encoding.full import FULL_BYTES, put_full
from pagethrift.stream.encoding.head import HEAD_BYTES, block_of
from pagethrift.stream.encoding.sparse import put_from_zero, put_sparse
from pagethrift.stream.encoding.zero import ZERO_BYTES, put_zero
from pagethrift.stream.wire import (
    CONTINUE_FLAG,
    NAME_MAX,
    PAGE_FLAG,
    PAGE_SHIFT,
    RECORD_MAX,
    SECTION_HEAD_BYTES,
    XBZRLE_HEAD_BYTES,
    ZERO_FLAG,
)

ZERO_ROOM = ZERO_BYTES + 1 + NAME_MAX + SECTION_HEAD_BYTES
"""output bytes a page may take that arrived as a ZERO record: one that names its block, and the head of the
section it stands in where pages of a multifd channel open one"""

PAGE_ROOM = ZERO_ROOM + RECORD_MAX
"""the same of a page with content: as a sparse one it is a ZERO record, and the longest record after it"""

RUN_BYTES = 8 * FULL_BYTES
"""shorter runs are copied; sending a run from its place costs about as much as copying 4 pages"""
RUNS = 64
"""most runs of a batch that are sent from their place; the rest is copied"""


@kernel
def room_bytes(kinds: U8, lengths: I32) -> int:
    """Return the most output bytes for records of these kinds and payload bytes."""
    room = 0
    for i in range(len(kinds)):
        if kinds[i] == Kind.XBZRLE:
            room += ZERO_ROOM + XBZRLE_HEAD_BYTES + lengths[i]
        else:
            room += PAGE_ROOM if kinds[i] == Kind.PAGE else ZERO_ROOM
    return room


@kernel
def _verbatim_run(
    buffer: U8, positions: I64, pages: I64, methods: U8, first_pages: I64, block: int, i: int
) -> tuple[int, int]:
    """Find the records from ``i`` on that are adjacent in the input and just as we would write them.

    Returns (index after them, buffer position after them). The bytes themselves are compared, so a page
    with anything else before it cannot match.
    """
    stop = positions[i] - HEAD_BYTES
    if block < 0:
        return i, stop
    while (
        i < len(pages)
        and positions[i] - HEAD_BYTES == stop
        and first_pages[block] <= pages[i] < first_pages[block + 1]
    ):
        head: Word = np.uint64((pages[i] - first_pages[block]) << PAGE_SHIFT) | np.uint64(CONTINUE_FLAG)
        if methods[i] == Method.FULL:
            head |= np.uint64(PAGE_FLAG)
            length = FULL_BYTES
        elif methods[i] == Method.ZERO:
            head |= np.uint64(ZERO_FLAG)
            length = ZERO_BYTES
        else:
            break
        if load64_be(buffer, stop) != head:
            break
        stop += length
        i += 1
    return i, stop


@kernel
def emit_records(
    buffer: U8,
    positions: I64,
    lengths: I32,
    pages: I64,
    methods: U8,
    masks: U32,
    subpage_bytes: int,
    names: U8,
    name_lengths: I64,
    first_pages: I64,
    last: int,
    out: U8,
    at: int,
    sizes: I32,
    runs: I64,
    run_bytes: int,
) -> tuple[int, int, int]:
    """Write one record (SPARSE: two) for each page whose method is not SKIP, HOLD or CHANNEL.

    ``last`` is the block CONTINUE refers to. ``sizes`` receives the bytes written and
    ``methods`` is changed to FULL where a sparse page turned out longer than that.
    ``out`` needs ``room_bytes`` from ``at`` on.
    A run is a stretch of ``buffer`` that is already as it would be written. Runs of at least ``run_bytes``
    are not copied but listed in ``runs``, as far as it has rows, as (position in ``out`` where the run
    belongs, start and stop in ``buffer``). Returns (position after, new last block, number of runs).
    """
    found = 0
    examined = 0
    following = 0
    while following < len(pages):
        i = following
        following = i + 1
        if i >= examined and found < len(runs) and methods[i] in (Method.FULL, Method.ZERO):
            start = positions[i] - HEAD_BYTES
            examined, stop = _verbatim_run(buffer, positions, pages, methods, first_pages, last, i)
            if stop - start >= run_bytes:
                runs[found, 0] = at
                runs[found, 1] = start
                runs[found, 2] = stop
                found += 1
                for j in range(i, examined):
                    sizes[j] = FULL_BYTES if methods[j] == Method.FULL else ZERO_BYTES
                following = examined
                continue
        if methods[i] in (Method.SKIP, Method.HOLD):
            sizes[i] = 0
            continue
        if methods[i] == Method.CHANNEL:
            continue
        begin = at
        block = block_of(pages[i], last, first_pages)
        offset = (pages[i] - first_pages[block]) << PAGE_SHIFT
        after = -1
        if methods[i] == Method.ZERO:
            after = put_zero(out, at, offset, block, last, names, name_lengths)
        elif methods[i] == Method.SPARSE:
            after = put_sparse(buffer, positions[i], out, at, offset, block, last, names, name_lengths)
        elif methods[i] == Method.FROM_ZERO:
            after = put_from_zero(buffer, positions[i], out, at, at, offset, block, last, names, name_lengths)
        elif methods[i] == Method.DELTA:
            after = put_delta(
                buffer, positions[i], masks[i], subpage_bytes,
                out, at, offset, block, last, names, name_lengths,
            )  # fmt: skip
        elif methods[i] == Method.SOURCE_DELTA:
            after = put_source_delta(
                buffer, positions[i], lengths[i], out, at, offset, block, last, names, name_lengths
            )
        if after < 0:
            methods[i] = Method.FULL
            after = put_full(buffer, positions[i], out, at, offset, block, last, names, name_lengths)
        at = after
        sizes[i] = at - begin
        last = block
    return at, last, found


NO_RUNS: I64 = np.empty((0, 3), np.int64)


@dataclass(slots=True)
class RecordWriter:
    """Writes page records of one stream; remembers the block CONTINUE refers to."""

    table: BlockTable
    last_block: int = -1
    run_bytes: int = RUN_BYTES

    def write(
        self,
        batch: PageBatch,
        methods: U8,
        masks: U32,
        subpage_bytes: int,
        out: U8,
        at: int,
        sizes: I32,
        runs: I64 = NO_RUNS,
    ) -> tuple[int, int]:
        """Write a batch into ``out`` from position ``at``; return (the position after it, number of runs).

        ``out`` has at least ``room_bytes`` from ``at`` on. ``sizes`` receives
        the bytes of each page; ``methods`` may change from sparse to FULL.
        ``runs``, shape (n, 3), receives the runs that stay in the batch's buffer (``emit_records``).
        """
        table = self.table
        at, self.last_block, found = emit_records(
            batch.buffer, batch.position, batch.length, batch.page, methods, masks, subpage_bytes,
            table.names, table.name_lengths, table.first_pages, self.last_block, out, at, sizes,
            runs, self.run_bytes,
        )  # fmt: skip
        return at, found
