"""What a recorder keeps of pages, against plain Python."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pagethrift.model.pages import PAGE_BYTES, Kind, PageBatch
from pagethrift.stream.xbzrle import encode_delta
from pagethrift.trace.measure import PageMeter
from pagethrift.trace.sweeps import SweepRows
from pagethrift.trace.write import Rows

SECRET = bytes(range(32))


def batch(contents: dict[int, bytes]) -> PageBatch:
    """Pages as a reader hands them out; an all-zero content as a ZERO record."""
    data = np.frombuffer(b"\xaa" + b"".join(contents.values()), np.uint8)
    n = len(contents)
    kinds = [Kind.PAGE if any(content) else Kind.ZERO for content in contents.values()]
    return PageBatch(
        np.array(list(contents), np.int64), np.array(kinds, np.uint8),
        1 + PAGE_BYTES * np.arange(n, dtype=np.int64), np.full(n, PAGE_BYTES, np.int32), data,
    )  # fmt: skip


def measured(meter: PageMeter, page: int, content: bytes) -> Rows:
    return meter.measure(batch({page: content}))


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


@pytest.fixture
def pages() -> tuple[bytes, bytes]:
    rng = random.Random(5)
    return rng.randbytes(PAGE_BYTES), rng.randbytes(PAGE_BYTES)


def test_flips_and_equal_pages_share_ids(pages: tuple[bytes, bytes]) -> None:
    a, b = pages
    meter = PageMeter(8, SECRET, exact=True)
    ids = [int(measured(meter, 3, content).content[0]) for content in (a, b, a, bytes(PAGE_BYTES), b)]
    assert ids == [1, 2, 1, 0, 2]
    assert measured(meter, 5, a).content[0] == 1
    assert measured(meter, 6, bytes(PAGE_BYTES)).zero[0]


def test_changed_subpages_and_exact_delta(pages: tuple[bytes, bytes]) -> None:
    a, _ = pages
    meter = PageMeter(8, SECRET, exact=True)
    first = measured(meter, 2, a)
    assert (first.changed[0], first.delta_bytes[0]) == (0xFFFF, 0)
    again = measured(meter, 2, a)
    assert (again.changed[0], again.delta_bytes[0]) == (0, 0)
    edited = patched(patched(a, 300, bytes([a[300] ^ 1])), 4000, bytes([a[4000] ^ 255, a[4001] ^ 255]))
    rows = measured(meter, 2, edited)
    assert rows.changed[0] == (1 << 1) | (1 << 15)
    out = np.zeros(3 * PAGE_BYTES, np.uint8)
    old, new = (np.frombuffer(text, np.uint8) for text in (a, edited))
    assert rows.delta_bytes[0] == encode_delta(old, 0, new, 0, out, 0, PAGE_BYTES)
    zeroed = measured(meter, 2, bytes(PAGE_BYTES))
    assert (zeroed.delta_bytes[0], zeroed.sparse_bytes[0]) == (PAGE_BYTES, 0)


def test_estimated_delta_is_an_upper_bound(pages: tuple[bytes, bytes]) -> None:
    a, b = pages
    exact, estimate = PageMeter(2, SECRET, exact=True), PageMeter(2, SECRET, exact=False)
    rng = random.Random(1)
    content = a
    for _ in range(60):
        at = rng.randrange(PAGE_BYTES - 64)
        content = b if rng.random() < 0.1 else patched(content, at, rng.randbytes(rng.randint(1, 64)))
        left, right = measured(exact, 1, content), measured(estimate, 1, content)
        assert left.changed[0] == right.changed[0]
        assert left.delta_bytes[0] <= right.delta_bytes[0]


def test_sparse_and_compressed_sizes() -> None:
    meter = PageMeter(4, SECRET, exact=False, zstd_share=1.0)
    sparse = patched(bytes(PAGE_BYTES), 800, b"\1" * 16)
    rows = meter.measure(batch({0: sparse, 1: random.Random(3).randbytes(PAGE_BYTES)}))
    assert rows.sparse_bytes[0] == 16 + 4
    assert rows.sparse_bytes[1] == PAGE_BYTES
    assert 0 < rows.zstd_bytes[0] < 100
    assert rows.zstd_bytes[1] > 4000


def test_a_page_that_comes_twice_is_one_row(pages: tuple[bytes, bytes]) -> None:
    a, b = pages
    meter, sweep = PageMeter(8, SECRET, exact=True), SweepRows(8)
    meter.measure(batch({1: a, 2: a}))
    once = patched(a, 0, bytes([a[0] ^ 1]))
    twice = patched(once, 1000, bytes([a[1000] ^ 1]))
    sweep.add(meter.measure(batch({1: once, 2: b})))
    sweep.add(meter.measure(batch({1: twice})))
    classes = np.arange(8, dtype=np.uint8)
    rows = sweep.take(classes)
    assert rows.page.tolist() == [1, 2]
    assert rows.changed.tolist() == [(1 << 0) | (1 << 3), 0xFFFF]
    assert rows.page_class is not None
    assert rows.page_class.tolist() == [1, 2]
    assert len(sweep) == 0
    sweep.add(meter.measure(batch({1: a})))
    assert sweep.take(None).page.tolist() == [1]
