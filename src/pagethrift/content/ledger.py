"""The ledger: what the destination will hold after everything forwarded so far."""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.pages import I64, U8, U32, U64

NEVER, KNOWN, ZERO = 0, 1, 2
"""states of a page: never forwarded (the destination may hold anything), described by its row, all zero"""

ALL_CHANGED = 0xFFFFFFFF


@kernel
def _compare(rows: U64, state: U8, zero: U64, pages: I64, kinds: U8, signs: U64, out: U32) -> None:
    columns = signs.shape[1]
    for i in range(len(pages)):
        page = pages[i]
        if state[page] == 0:
            out[i] = 0xFFFFFFFF
            continue
        if state[page] == 2 and kinds[i] == 0:
            out[i] = 0
            continue
        mask = np.uint32(0)
        for column in range(columns):
            held = zero[column] if state[page] == 2 else rows[page, column]
            if held != signs[i, column]:
                mask |= np.uint32(1) << np.uint32(column)
        out[i] = mask


@kernel
def _commit(rows: U64, state: U8, zero: U64, pages: I64, signs: U64, methods: U8) -> None:
    columns = signs.shape[1]
    for i in range(len(pages)):
        if methods[i] == 0 or methods[i] == 6:
            continue
        page = pages[i]
        is_zero = columns > 0
        for column in range(columns):
            if signs[i, column] != zero[column]:
                is_zero = False
                break
        if is_zero:
            state[page] = 2
        else:
            state[page] = 1
            for column in range(columns):
                rows[page, column] = signs[i, column]


def _untouched_rows(pages: int, columns: int) -> U64:
    """Return zeros that take memory 4 KiB at a time, as rows are written. Raises MemoryError.

    numpy asks for 2 MiB pages: a guest with one page in use in 16 384 would pay for every row.
    """
    if not pages * columns:
        return np.zeros((pages, columns), np.uint64)
    try:
        memory = mmap.mmap(-1, 8 * pages * columns, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise MemoryError(f"a ledger of {pages} pages") from error
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint64).reshape(pages, columns)


class Ledger:
    """One row of 64-bit signature words a page, plus one byte of state.

    Memory is taken as rows are written, and all-zero pages need no row.
    256-byte subpages: 129 / 4096 = 3.15 % of the guest's non-zero RAM.
    """

    def __init__(self, pages: int, zero_row: U64) -> None:
        self.zero_row = zero_row
        self.rows: U64 = _untouched_rows(pages, len(zero_row))
        self.state: U8 = np.zeros(pages, np.uint8)

    def compare(self, pages: I64, kinds: U8, signs: U64, out: U32) -> None:
        """Write for each page a mask with a bit for each column that differs.

        ALL_CHANGED for a page never forwarded, 0 for a page the destination holds.
        """
        _compare(self.rows, self.state, self.zero_row, pages, kinds, signs, out)

    def commit(self, pages: I64, signs: U64, methods: U8) -> None:
        """Record that the destination will hold these contents, for every method but SKIP and HOLD."""
        _commit(self.rows, self.state, self.zero_row, pages, signs, methods)

    @property
    def described_bytes(self) -> int:
        """Bytes of rows in use, and the states."""
        return int(np.count_nonzero(self.state == KNOWN)) * 8 * int(self.rows.shape[1]) + len(self.state)
