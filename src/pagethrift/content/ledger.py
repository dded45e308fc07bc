"""The ledger: what the destination will hold after everything that was forwarded so far."""

from __future__ import annotations

import contextlib
import mmap
from enum import IntEnum

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import I64, U8, U32, U64, Kind


class State(IntEnum):
    """What the ledger knows about the page that the destination holds."""

    NEVER = 0
    """nothing was forwarded: the destination may hold anything"""
    KNOWN = 1
    """its row describes what the destination holds"""
    ZERO = 2
    """the page is all zero; its row is not used"""
    BASE = 3
    """its row describes what the destination held before the migration; nothing was forwarded"""
    UNSEEN = 4
    """something was forwarded that the relay has not seen whole: the source's own delta"""


ALL_CHANGED = 0xFFFFFFFF


@kernel
def _compare(rows: U64, state: U8, zero: U64, pages: I64, kinds: U8, signs: U64, out: U32) -> None:
    columns = signs.shape[1]
    for i in range(len(pages)):
        page = pages[i]
        if state[page] == State.NEVER or state[page] == State.UNSEEN or kinds[i] == Kind.XBZRLE:
            out[i] = ALL_CHANGED
            continue
        if state[page] == State.ZERO and kinds[i] == Kind.ZERO:
            out[i] = 0
            continue
        mask = np.uint32(0)
        for column in range(columns):
            held = zero[column] if state[page] == State.ZERO else rows[page, column]
            if held != signs[i, column]:
                mask |= np.uint32(1) << np.uint32(column)
        out[i] = mask


@kernel
def _commit(rows: U64, state: U8, zero: U64, pages: I64, signs: U64, methods: U8) -> None:
    columns = signs.shape[1]
    for i in range(len(pages)):
        if methods[i] in (Method.SKIP, Method.HOLD):
            continue
        page = pages[i]
        if methods[i] == Method.SOURCE_DELTA:
            state[page] = State.UNSEEN
            continue
        is_zero = columns > 0
        for column in range(columns):
            if signs[i, column] != zero[column]:
                is_zero = False
                break
        if is_zero:
            state[page] = State.ZERO
        else:
            state[page] = State.KNOWN
            for column in range(columns):
                rows[page, column] = signs[i, column]


def _untouched_rows(pages: int, columns: int) -> U64:
    """Return zeros that take memory 4 KiB at a time, as rows are written. Raises MemoryError.

    numpy asks for 2 MiB pages: with one guest page in 16 384 in use, every row would take memory.
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
    """For each page one row of 64-bit signature words and one byte of state.

    Memory is taken as rows are written, and all-zero pages need no row.
    256-byte subpages: 129 / 4096 = 3.15 % of the guest's non-zero RAM.
    """

    def __init__(self, pages: int, zero_row: U64) -> None:
        self.zero_row = zero_row
        self.rows: U64 = _untouched_rows(pages, len(zero_row))
        self.state: U8 = np.zeros(pages, np.uint8)

    def begin_with(self, pages: I64, signs: U64) -> None:
        """Describe what the destination already holds, before anything is compared.

        ``signs``: a row for each page, made with this migration's key from the very bytes that the
        destination has mapped; wrong rows corrupt its guest silently. Pages not named stay unknown.
        """
        self.rows[pages] = signs
        self.state[pages] = State.BASE

    def compare(self, pages: I64, kinds: U8, signs: U64, out: U32) -> None:
        """Write for each page a mask with a bit for each column that differs.

        The mask is ALL_CHANGED for a page never forwarded, and for a delta of the source's or a page that
        one changed; 0 for a page the destination holds.
        """
        _compare(self.rows, self.state, self.zero_row, pages, kinds, signs, out)

    def commit(self, pages: I64, signs: U64, methods: U8) -> None:
        """Record that the destination will hold these contents, except those with method SKIP or HOLD."""
        _commit(self.rows, self.state, self.zero_row, pages, signs, methods)
