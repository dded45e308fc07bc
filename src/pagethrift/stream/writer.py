"""The writer: pages and methods in, legal page records out, with its own CONTINUE flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.kernels import Word, copy_bytes, kernel, load64, load64_be, store64_be
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32, BlockTable, PageBatch
from pagethrift.stream.wire import RECORD_MAX
from pagethrift.stream.xbzrle import encode_sparse, put_run

PAGE_ROOM = RECORD_MAX + 300
"""output bytes a page may take: a ZERO record that names its block, then the longest record"""

ZERO_ROOM = 300
"""the same of a page that arrived as a ZERO record"""

RUN_BYTES = 8 * (8 + PAGE_BYTES)
"""fewer bytes than this are copied; sending a piece apart costs about as much as copying 4 pages"""
RUNS = 64
"""such pieces of a batch at most; what is beyond them is copied"""

FULL_BYTES = 8 + PAGE_BYTES
ZERO_BYTES = 9
DELTA_HEAD_BYTES = 11
_SKIP, _ZERO, _FULL, _DELTA, _SPARSE, _FROM_ZERO, _HOLD = (int(method) for method in Method)


@kernel
def sparse_bytes(buffer: U8, at: int) -> int:
    """Bytes of an XBZRLE payload against zero, 0 for an all-zero page."""
    zeros = 0
    for w in range(0, PAGE_BYTES, 8):
        if load64(buffer, at + w) == 0:
            zeros += 1
    if zeros < 4:
        return PAGE_BYTES
    runs = 0
    before = np.uint64(0)
    for w in range(0, PAGE_BYTES, 8):
        word = load64(buffer, at + w)
        if word != 0 and before == 0:
            runs += 1
        before = word
    return 8 * (512 - zeros) + 4 * runs


@kernel
def delta_bytes(mask: int, columns: int, subpage: int) -> int:
    """Bytes of an XBZRLE payload with the changed subpages: two numbers of two bytes a run.

    The "0 unchanged" of a run that begins the page takes one byte.
    """
    runs = 0
    changed = 0
    before: Word = np.uint32(0)
    for column in range(columns):
        bit: Word = (mask >> np.uint32(column)) & np.uint32(1)
        if bit and not before:
            runs += 1
        changed += bit
        before = bit
    return changed * subpage + 4 * runs - (mask & 1)


@kernel
def smallest_method(state: int, mask: int, can: int, sparse: int, delta: int) -> tuple[int, int]:
    """Return the method of least bytes that is allowed and certain to be right, and its bytes.

    ``state`` and ``mask`` come from the ledger, ``can`` is an Allow. ``sparse``: bytes of the payload
    against zero, 0 for a zero page; ``delta``: of the payload against the page held. The simulator
    (simulate/kernels.py) asks the same function.
    """
    if state != 0 and mask == 0 and can & 1:
        return _SKIP, 0
    if sparse == 0:
        return _ZERO, ZERO_BYTES
    best = FULL_BYTES
    method = _FULL
    if can & 4:
        if state == 2 and can & 2 and DELTA_HEAD_BYTES + sparse < best:
            best = DELTA_HEAD_BYTES + sparse
            method = _FROM_ZERO
        elif ZERO_BYTES + DELTA_HEAD_BYTES + sparse < best:
            best = ZERO_BYTES + DELTA_HEAD_BYTES + sparse
            method = _SPARSE
    if can & 2 and state != 0 and mask != 0 and DELTA_HEAD_BYTES + delta < best:
        best = DELTA_HEAD_BYTES + delta
        method = _DELTA
    return method, best


@kernel
def room_bytes(kinds: U8) -> int:
    """Output bytes that records of these kinds may take, -1 for XBZRLE: it needs the page it changes."""
    room = 0
    for kind in kinds:
        if kind == 2:
            return -1
        room += PAGE_ROOM if kind == 1 else ZERO_ROOM
    return room


@kernel
def choose_methods(
    buffer: U8,
    positions: I64,
    kinds: U8,
    pages: I64,
    state: U8,
    masks: U32,
    columns: int,
    subpage: int,
    allowed: U8,
    methods: U8,
    sizes: I32,
) -> None:
    """Choose a method for each page; ``subpage`` is 0 where columns do not name parts of the page.

    Writes Method values and the bytes each record is estimated to take.
    """
    for i in range(len(pages)):
        held = state[pages[i]]
        sparse = PAGE_BYTES
        if kinds[i] == 0:
            sparse = 0
        elif allowed[i] & 4 and (held == 0 or masks[i] != 0 or not allowed[i] & 1):
            sparse = sparse_bytes(buffer, positions[i])
        delta = PAGE_BYTES
        if allowed[i] & 2 and subpage > 0 and held != 0:
            delta = delta_bytes(masks[i], columns, subpage)
        methods[i], sizes[i] = smallest_method(held, masks[i], allowed[i], sparse, delta)


@kernel
def _put_head(
    out: U8, at: int, offset: int, flag: int, block: int, last: int, names: U8, name_lengths: I64
) -> int:
    word = np.uint64(offset) | np.uint64(flag)
    if block == last:
        store64_be(out, at, word | np.uint64(0x020))
        return at + 8
    store64_be(out, at, word)
    length = int(name_lengths[block])
    out[at + 8] = length
    for i in range(length):
        out[at + 9 + i] = names[block, i]
    return at + 9 + length


@kernel
def _block_of(page: int, guess: int, first_pages: I64) -> int:
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


@kernel
def _put_xbzrle_head(
    out: U8, at: int, offset: int, block: int, last: int, names: U8, name_lengths: I64
) -> int:
    at = _put_head(out, at, offset, 0x040, block, last, names, name_lengths)
    out[at] = 1
    return at + 3


@kernel
def _verbatim_run(
    buffer: U8, positions: I64, pages: I64, methods: U8, first_pages: I64, block: int, i: int
) -> tuple[int, int]:
    """Find the records from ``i`` on that stand in the input as we would write them, one after the other.

    Returns (index after them, buffer position after them). The bytes themselves are compared, so it
    does not matter what else may stand before a page.
    """
    stop = positions[i] - 8
    if block < 0:
        return i, stop
    while (
        i < len(pages)
        and positions[i] - 8 == stop
        and first_pages[block] <= pages[i] < first_pages[block + 1]
    ):
        head: Word = np.uint64((pages[i] - first_pages[block]) << 12) | np.uint64(0x020)
        if methods[i] == _FULL:
            head |= np.uint64(0x008)
            length = FULL_BYTES
        elif methods[i] == _ZERO:
            head |= np.uint64(0x002)
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
    pages: I64,
    methods: U8,
    masks: U32,
    columns: int,
    subpage: int,
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
    """Write one record (SPARSE: two) for each page whose method is not SKIP or HOLD.

    ``last`` is the block CONTINUE refers to. ``sizes`` receives the bytes written and
    ``methods`` is changed to FULL where a sparse page turned out longer than that.
    ``out`` needs ``room_bytes`` from ``at`` on.
    ``run_bytes`` or more that stand in ``buffer`` in a row as they would be written are not copied
    but written to ``runs``, as many as it has rows: (position in ``out`` where they belong, start and stop in
    ``buffer``). Returns (position after, new last block, runs).
    """
    found = 0
    examined = 0
    following = 0
    while following < len(pages):
        i = following
        following = i + 1
        if i >= examined and found < len(runs) and methods[i] in (_FULL, _ZERO):
            start = positions[i] - 8
            examined, stop = _verbatim_run(buffer, positions, pages, methods, first_pages, last, i)
            if stop - start >= run_bytes:
                runs[found, 0] = at
                runs[found, 1] = start
                runs[found, 2] = stop
                found += 1
                for j in range(i, examined):
                    sizes[j] = FULL_BYTES if methods[j] == _FULL else ZERO_BYTES
                following = examined
                continue
        method = methods[i]
        if method in (_SKIP, _HOLD):
            sizes[i] = 0
            continue
        begin = at
        block = _block_of(pages[i], last, first_pages)
        offset = (pages[i] - first_pages[block]) << 12
        done = False
        if method in (_ZERO, _SPARSE):
            at = _put_head(out, at, offset, 0x002, block, last, names, name_lengths)
            out[at] = 0
            at += 1
            done = method == _ZERO
        if method in (_SPARSE, _FROM_ZERO):
            base = last if method == _FROM_ZERO else block
            start = _put_xbzrle_head(out, at, offset, block, base, names, name_lengths)
            limit = PAGE_BYTES - (start - begin - 8)
            stop = encode_sparse(buffer, positions[i], out, start, limit)
            if stop >= 0:
                out[start - 2] = (stop - start) >> 8
                out[start - 1] = (stop - start) & 0xFF
                at = stop
                done = True
            else:
                at = begin
                methods[i] = _FULL
        elif method == _DELTA:
            start = _put_xbzrle_head(out, at, offset, block, last, names, name_lengths)
            at = start
            unchanged = 0
            column = 0
            while column < columns:
                if not (masks[i] >> np.uint32(column)) & np.uint32(1):
                    unchanged += subpage
                    column += 1
                    continue
                first = column
                while column < columns and (masks[i] >> np.uint32(column)) & np.uint32(1):
                    column += 1
                count = (column - first) * subpage
                at = put_run(out, at, unchanged, buffer, positions[i] + first * subpage, count)
                unchanged = 0
            out[start - 2] = (at - start) >> 8
            out[start - 1] = (at - start) & 0xFF
            done = True
        if not done:
            at = _put_head(out, at, offset, 0x008, block, last, names, name_lengths)
            copy_bytes(out, at, buffer, positions[i], PAGE_BYTES)
            at += PAGE_BYTES
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
        columns: int,
        subpage: int,
        out: U8,
        at: int,
        sizes: I32,
        runs: I64 = NO_RUNS,
    ) -> tuple[int, int]:
        """Write a batch into ``out`` from position ``at``; returns (the position after it, runs).

        ``out`` has at least ``room_bytes`` from ``at`` on. ``sizes`` receives
        the bytes of each page; ``methods`` may change from sparse to FULL.
        ``runs``, shape (n, 3), receives what is left where it is in the batch's buffer (``emit_records``).
        """
        table = self.table
        at, self.last_block, found = emit_records(
            batch.buffer, batch.position, batch.page, methods, masks, columns, subpage,
            table.names, table.name_lengths, table.first_pages, self.last_block, out, at, sizes,
            runs, self.run_bytes,
        )  # fmt: skip
        return at, found
