"""The ledger against a dictionary of rows."""

from __future__ import annotations

import mmap
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.content.ledger import ALL_CHANGED, Ledger, State
from pagethrift.model.methods import Method
from tests.streams import seeds

PAGES = 10


@settings(max_examples=80, deadline=None)
@given(seed=seeds, columns=st.sampled_from([0, 1, 4, 16, 31, 32]))
def test_compare_and_commit_as_a_dictionary_would(seed: int, columns: int) -> None:
    rng = random.Random(seed)
    zero = [5 << 40 | i for i in range(columns)]
    ledger = Ledger(PAGES, np.array(zero, np.uint64))
    rows: dict[int, list[int]] = {}
    unseen: set[int] = set()
    for _ in range(12):
        pages = rng.sample(range(PAGES), rng.randint(0, PAGES))
        signs, kinds = [], []
        for page in pages:
            match rng.randrange(4):
                case 0:
                    row = list(zero)
                case 1:
                    row = list(rows.get(page, zero))
                case 2:
                    row = list(rows.get(page, zero))
                    for column in range(columns):
                        if rng.random() < 0.2:
                            row[column] ^= 1 << rng.randrange(64)
                case _:
                    row = [rng.getrandbits(64) for _ in range(columns)]
            signs.append(row)
            kinds.append(0 if row == zero and columns and rng.random() < 0.5 else 1)
        sign_array = np.array(signs, np.uint64).reshape(len(pages), columns)
        masks = np.full(len(pages), 77, np.uint32)
        ledger.compare(np.array(pages, np.int64), np.array(kinds, np.uint8), sign_array, masks)
        for i, page in enumerate(pages):
            if page not in rows:
                assert masks[i] == ALL_CHANGED
            else:
                assert masks[i] == sum(1 << c for c in range(columns) if rows[page][c] != signs[i][c])
        methods = [rng.choice(list(Method)) for _ in pages]
        ledger.commit(np.array(pages, np.int64), sign_array, np.array(methods, np.uint8))
        for i, page in enumerate(pages):
            if methods[i] is Method.SOURCE_DELTA:
                rows.pop(page, None)
                unseen.add(page)
            elif methods[i] not in (Method.SKIP, Method.HOLD):
                rows[page] = signs[i]
                unseen.discard(page)
        for page in range(PAGES):
            if page in unseen:
                assert ledger.state[page] == State.UNSEEN
            elif page not in rows:
                assert ledger.state[page] == State.NEVER
            elif rows[page] == zero and columns:
                assert ledger.state[page] == State.ZERO
            else:
                assert ledger.state[page] == State.KNOWN
                assert ledger.rows[page].tolist() == rows[page]


@pytest.mark.parametrize("column", range(32))
def test_each_column_has_its_bit(column: int) -> None:
    ledger = Ledger(1, np.full(32, 9, np.uint64))
    page, one = np.zeros(1, np.int64), np.ones(1, np.uint8)
    row = np.arange(32, dtype=np.uint64).reshape(1, 32)
    ledger.commit(page, row, one)
    row[0, column] ^= np.uint64(1 << 63)
    mask = np.zeros(1, np.uint32)
    ledger.compare(page, one, row, mask)
    assert mask[0] == 1 << column


def test_a_page_that_becomes_zero_and_something_again() -> None:
    """The old row must not come back to life: contents A, zero, A."""
    ledger = Ledger(1, np.full(4, 9, np.uint64))
    page, one, mask = np.zeros(1, np.int64), np.ones(1, np.uint8), np.zeros(1, np.uint32)
    a, zero = np.full((1, 4), 3, np.uint64), np.full((1, 4), 9, np.uint64)
    ledger.commit(page, a, one)
    ledger.commit(page, zero, one)
    ledger.compare(page, one, a, mask)
    assert mask[0] == 0b1111
    ledger.compare(page, np.zeros(1, np.uint8), zero, mask)
    assert mask[0] == 0


def test_what_is_skipped_is_not_recorded() -> None:
    ledger = Ledger(1, np.full(4, 9, np.uint64))
    ledger.commit(np.zeros(1, np.int64), np.full((1, 4), 3, np.uint64), np.zeros(1, np.uint8))
    assert ledger.state[0] == State.NEVER
    assert not ledger.rows.any()


def test_a_fresh_ledger_takes_no_memory_for_rows() -> None:
    """A ledger for 64 GiB of guest: 2 GiB of rows that are not touched."""
    before = resident_bytes()
    ledger = Ledger(1 << 24, np.zeros(16, np.uint64))
    assert ledger.rows.nbytes == 2 << 30
    assert resident_bytes() - before < 64 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_rows_scattered_over_a_large_guest_take_one_small_page_each() -> None:
    """64 GiB of guest, one page in 16 384 in use: 1024 x 4 KiB, not 1024 x 2 MiB."""
    ledger = Ledger(1 << 24, np.zeros(16, np.uint64))
    before = resident_bytes()
    pages = np.arange(0, 1 << 24, 1 << 14, dtype=np.int64)
    ledger.commit(pages, np.full((len(pages), 16), 3, np.uint64), np.ones(len(pages), np.uint8))
    assert ledger.rows[1 << 14, 0] == 3
    assert resident_bytes() - before < 64 << 20


def test_a_ledger_that_cannot_be_had_is_a_memory_error() -> None:
    for pages in (1 << 50, 1 << 62):
        with pytest.raises(MemoryError):
            Ledger(pages, np.zeros(16, np.uint64))
