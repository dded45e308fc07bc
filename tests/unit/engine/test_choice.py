"""Methods chosen are allowed, certain to be right, and of the fewest bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.engine.choice import Payload, choose_methods, measure_payloads
from pagethrift.model.methods import Method
from pagethrift.stream.encoding.full import FULL_BYTES
from tests.streams import seeds
from tests.unit.page_cases import EMPTY, FEW, KNOWN, NEVER, NOISE, ZERO, case, one


@settings(max_examples=250, deadline=None)
@given(seed=seeds)
def test_a_method_is_allowed_and_certain_to_be_right(seed: int) -> None:
    c = case(seed)
    methods, sizes = c.choose()
    for i, page in enumerate(c.batch.page.tolist()):
        held, mask, can, new = c.state[page], c.masks[i], c.allowed[i], c.new[page]
        match Method(methods[i]):
            case Method.SKIP:
                assert held != NEVER
                assert mask == 0
                assert can & 1
                assert new == c.old[page]
            case Method.ZERO:
                assert new == EMPTY
                assert can & 4 or c.batch.kind[i] == 0
            case Method.DELTA:
                assert held != NEVER
                assert can & 2
                assert c.subpage > 0
                assert mask != 0
            case Method.SPARSE:
                assert can & 4
            case Method.FROM_ZERO:
                assert held == ZERO
                assert can & 2
                assert can & 4
            case Method.FULL:
                assert c.batch.kind[i] == 1
        assert 0 <= sizes[i] <= FULL_BYTES
        assert (sizes[i] == 0) == (methods[i] == Method.SKIP)


@settings(max_examples=250, deadline=None)
@given(state=st.integers(0, 3), mask=st.integers(0, 2**32 - 1), can=st.integers(0, 255), seed=seeds)
def test_skip_needs_an_empty_mask_and_a_known_page(state: int, mask: int, can: int, seed: int) -> None:
    """Whatever ledger and strategy say, also in combinations that cannot happen."""
    rng = random.Random(seed)
    mask = rng.choice((0, 1, 1 << 31, mask))
    data = rng.choice((EMPTY, b"\x01" * 4096))
    methods, sizes = np.full(1, 99, np.uint8), np.zeros(1, np.int32)
    kind = np.array([0 if data == EMPTY and rng.random() < 0.5 else 1], np.uint8)
    pages, states, masks = np.zeros(1, np.int64), np.array([state], np.uint8), np.array([mask], np.uint32)
    allowed, payloads = np.array([can], np.uint8), np.zeros((1, len(Payload)), np.int32)
    measure_payloads(
        np.frombuffer(bytearray(data), np.uint8), np.zeros(1, np.int64), kind, pages, states, masks,
        128, allowed, payloads,
    )  # fmt: skip
    choose_methods(pages, states, masks, allowed, payloads, methods, sizes)
    assert (methods[0] == Method.SKIP) == (state != NEVER and mask == 0 and bool(can & 1))
    if methods[0] == Method.DELTA:
        assert state != NEVER
    if methods[0] == Method.FROM_ZERO:
        assert state == ZERO


@pytest.mark.parametrize(
    ("new", "state", "mask", "can", "method", "size"),
    [
        (NOISE, KNOWN, 0, 1, Method.SKIP, 0),
        (NOISE, KNOWN, 0, 6, Method.FULL, 4104),
        (NOISE, NEVER, 0, 7, Method.FULL, 4104),
        (NOISE, KNOWN, 0b1000, 7, Method.DELTA, 11 + 4 + 256),
        (NOISE, KNOWN, 0b1010, 7, Method.DELTA, 11 + 8 + 512),
        (NOISE, KNOWN, 0xFFFE, 7, Method.DELTA, 11 + 4 + 15 * 256),
        (NOISE, KNOWN, 0xFFFF, 7, Method.FULL, 4104),
        (NOISE, KNOWN, 0b1000, 5, Method.FULL, 4104),
        (FEW, NEVER, 0xFFFFFFFF, 7, Method.SPARSE, 9 + 11 + 12),
        (FEW, KNOWN, 0b1000, 7, Method.SPARSE, 9 + 11 + 12),
        (FEW, ZERO, 0b1000, 7, Method.FROM_ZERO, 11 + 12),
        (FEW, ZERO, 0b1000, 5, Method.SPARSE, 9 + 11 + 12),
        (FEW, ZERO, 0b1000, 3, Method.DELTA, 11 + 4 + 256),
        (FEW, NEVER, 0xFFFFFFFF, 3, Method.FULL, 4104),
        (EMPTY, NEVER, 0xFFFFFFFF, 7, Method.ZERO, 9),
        (EMPTY, NEVER, 0xFFFFFFFF, 3, Method.FULL, 4104),
    ],
)  # fmt: skip
def test_the_least_bytes_win(new: bytes, state: int, mask: int, can: int, method: Method, size: int) -> None:
    methods, sizes = one(new, state, mask, can).choose()
    assert (Method(methods[0]), sizes[0]) == (method, size)
