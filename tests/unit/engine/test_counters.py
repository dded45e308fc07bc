"""Totals against plain sums."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings

from pagethrift.engine.counters import Counters
from pagethrift.model.methods import Method
from tests.streams import seeds

PAGES = 20


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_totals_are_plain_sums(seed: int) -> None:
    rng = random.Random(seed)
    counters = Counters()
    arrivals = np.zeros(PAGES, np.uint8)
    state = np.zeros(PAGES, np.uint8)
    came = dict.fromkeys(range(PAGES), 0)
    methods_seen = dict.fromkeys(Method, 0)
    first = again = again_pages = 0
    for _ in range(rng.randint(0, 30)):
        pages = rng.sample(range(PAGES), rng.randint(0, PAGES))
        before = np.full(len(pages), 99, np.uint8)
        counters.arrive(np.array(pages, np.int64), arrivals, before)
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
            first += size if state[page] == 0 else 0
            again += size if state[page] else 0
            if method is not Method.SKIP:
                state[page] = rng.choice((1, 2))
    assert counters.pages_in == sum(came.values())
    assert {method: counters.method(method) for method in Method} == methods_seen
    assert counters.first_round_bytes == first
    assert counters.retransferred_bytes == again
    assert counters.retransferred_pages == again_pages


def test_arrivals_saturate() -> None:
    counters, arrivals, before = Counters(), np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    for _ in range(300):
        counters.arrive(np.zeros(1, np.int64), arrivals, before)
    assert (arrivals[0], before[0]) == (255, 255)
    assert counters.pages_in == 300
    assert counters.retransferred_pages == 299


def test_totals_do_not_overflow_with_many_small_batches() -> None:
    counters = Counters()
    pages, sizes = np.zeros(1, np.int64), np.full(1, 2**31 - 1, np.int32)
    for _ in range(5):
        counters.account(pages, np.full(1, Method.FULL, np.uint8), sizes, np.ones(1, np.uint8))
    assert counters.retransferred_bytes == 5 * (2**31 - 1)
