"""Totals against plain sums."""

from __future__ import annotations

import random
from dataclasses import fields

import numpy as np
from hypothesis import given, settings

from pagethrift.content.ledger import State
from pagethrift.engine.counters import Count, Counters
from pagethrift.model.methods import COUNTED_AS, Method
from tests.streams import seeds

PAGES = 20


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_totals_are_plain_sums(seed: int) -> None:
    rng = random.Random(seed)
    counters = Counters()
    arrivals = np.zeros(PAGES, np.uint8)
    state = np.array([rng.choice((State.NEVER, State.BASE)) for _ in range(PAGES)], np.uint8)
    came = dict.fromkeys(range(PAGES), 0)
    methods_seen = dict.fromkeys(Method, 0)
    bytes_seen = dict.fromkeys(Method, 0)
    first = again = again_pages = 0
    for _ in range(rng.randint(0, 30)):
        pages = rng.sample(range(PAGES), rng.randint(0, PAGES))
        before = np.full(len(pages), 99, np.uint8)
        first_ones = np.full(len(pages), 99, np.uint8)
        counters.arrive(np.array(pages, np.int64), state, arrivals, before, first_ones)
        assert first_ones.tolist() == [int(state[page] in (State.NEVER, State.BASE)) for page in pages]
        assert before.tolist() == [min(255, came[page]) for page in pages]
        again_pages += sum(came[page] > 0 for page in pages)
        methods = [rng.choice(list(Method)) for _ in pages]
        sizes = [0 if method is Method.SKIP else rng.randint(9, 4104) for method in methods]
        counters.account(
            np.array(pages, np.int64), np.array(methods, np.uint8), np.array(sizes, np.int32), state
        )
        for page, method, size in zip(pages, methods, sizes, strict=True):
            came[page] += 1
            methods_seen[method] += 1
            bytes_seen[method] += size
            new = state[page] in (State.NEVER, State.BASE)
            first += size if new else 0
            again += 0 if new else size
            if method is not Method.SKIP:
                state[page] = rng.choice((State.KNOWN, State.ZERO))
    assert counters.of(Count.PAGES_IN) == sum(came.values())
    assert {method: counters.by_method[method] for method in Method} == methods_seen
    assert {method: counters.bytes_by_method[method] for method in Method} == bytes_seen
    assert counters.of(Count.FIRST_ROUND_BYTES) == first
    assert counters.of(Count.RETRANSFERRED_BYTES) == again
    assert counters.of(Count.RETRANSFERRED_PAGES) == again_pages


def test_arrivals_saturate() -> None:
    counters = Counters()
    state, arrivals, before, first = np.zeros((4, 1), np.uint8)
    for _ in range(300):
        counters.arrive(np.zeros(1, np.int64), state, arrivals, before, first)
    assert (arrivals[0], before[0]) == (255, 255)
    assert counters.of(Count.PAGES_IN) == 300
    assert counters.of(Count.RETRANSFERRED_PAGES) == 299


def test_totals_do_not_overflow_with_many_small_batches() -> None:
    counters = Counters()
    pages, sizes = np.zeros(1, np.int64), np.full(1, 2**31 - 1, np.int32)
    for _ in range(5):
        counters.account(pages, np.full(1, Method.FULL, np.uint8), sizes, np.ones(1, np.uint8))
    assert counters.of(Count.RETRANSFERRED_BYTES) == 5 * (2**31 - 1)


def test_pages_are_counted_by_what_became_of_them() -> None:
    """A method that is not in the table, or counted twice, would be seen here."""
    counters = Counters()
    counters.by_method[:] = [1 << 4 * method for method in Method]
    pages = counters.pages
    counters.bytes_by_method[:] = counters.by_method
    counters.channel_bytes = 7
    assert counters.page_bytes.delta == pages.delta
    assert counters.page_bytes.compressed == pages.compressed + 7
    assert pages.skipped == 1 << 4 * Method.SKIP
    assert pages.zero == 1 << 4 * Method.ZERO
    assert pages.full == 1 << 4 * Method.FULL
    assert pages.delta == sum(1 << 4 * m for m in Method if COUNTED_AS.get(m) == "delta")
    assert set(COUNTED_AS) == set(Method) - {Method.HOLD}
    assert set(COUNTED_AS.values()) == {field.name for field in fields(pages)}
