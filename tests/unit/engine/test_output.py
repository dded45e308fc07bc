"""Outputs: what was written and what was borrowed, in order, in pieces of any size."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
from hypothesis import given, settings

from pagethrift.engine.output import IOV_MAX, Output, drop_bytes, first_bytes
from pagethrift.stream.input import Received
from tests.streams import seeds


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_pieces_are_in_order_and_loans_are_given_back(seed: int) -> None:
    rng, out, lenders = random.Random(seed), Output(1000), [Received(100), Received(100)]
    for lender in lenders:
        lender.data[:] = np.frombuffer(rng.randbytes(100), np.uint8)
    for _ in range(2):
        expected = b""
        for _ in range(rng.randrange(6)):
            data = rng.randbytes(rng.choice((0, 1, 90)))
            out.data[out.size : out.size + len(data)] = np.frombuffer(data, np.uint8)
            out.size += len(data)
            lender, start = rng.choice(lenders), rng.randrange(90)
            out.borrow(out.size, lender, start, start + 7)
            expected += data + lender.data[start : start + 7].tobytes()
        assert b"".join(out.pieces()) == b"".join(out.pieces()) == expected
        assert out.total_bytes == len(expected)
        assert out.borrowed_bytes == 7 * sum(lender.loans for lender in lenders)
        out.clear()
        assert (out.total_bytes, out.free, len(out.pieces())) == (0, 1000, 0)
        assert [lender.loans for lender in lenders] == [0, 0]


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_writes_that_take_any_number_of_bytes_lose_none(seed: int) -> None:
    rng = random.Random(seed)
    parts = [rng.randbytes(rng.choice((1, 5, 3000))) for _ in range(rng.randint(1, 30))]
    pieces, sent = deque(memoryview(part) for part in parts), b""
    while pieces:
        most = rng.choice((1, 7, 4000))
        offered = b"".join(first_bytes(pieces, most))
        assert len(offered) == min(most, sum(map(len, pieces)))
        count = rng.randint(0, len(offered))
        sent += offered[:count]
        drop_bytes(pieces, count)
    assert sent == b"".join(parts)


def test_one_write_has_no_more_pieces_than_the_kernel_takes() -> None:
    pieces = deque(memoryview(b"x") for _ in range(IOV_MAX + 5))
    assert len(first_bytes(pieces, 1 << 20)) == IOV_MAX
