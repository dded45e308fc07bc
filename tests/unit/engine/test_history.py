"""The history of rounds against lists of bits."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings

from pagethrift.engine.history import RoundHistory
from tests.streams import seeds

PAGES = 20


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_it_remembers_what_a_set_would(seed: int) -> None:
    rng = random.Random(seed)
    history, changed, round_ = RoundHistory(PAGES), [set[int]() for _ in range(PAGES)], 0
    for _ in range(15):
        round_ += rng.choice((0, 0, 1, 1, 1, 2, 7, 8, 9, 300))
        pages = rng.sample(range(PAGES), rng.randint(0, PAGES))
        masks = [rng.choice((0, 1, 2**32 - 1)) for _ in pages]
        out = np.full(len(pages), 0xEE, np.uint8)
        history.mark(np.array(pages, np.int64), np.array(masks, np.uint32), round_, out)
        for page, mask in zip(pages, masks, strict=True):
            if mask:
                changed[page].add(round_)
        expected = [sum((round_ - ago in seen) << ago for ago in range(8)) for seen in changed]
        assert out.tolist() == [expected[page] for page in pages]
        assert history.of(np.arange(PAGES), round_).tolist() == expected


def test_a_round_that_goes_back_changes_nothing() -> None:
    history, page, out = RoundHistory(1), np.zeros(1, np.int64), np.zeros(1, np.uint8)
    history.mark(page, np.ones(1, np.uint32), 3, out)
    assert history.of(page, 1).tolist() == [1]
    assert history.of(page, 4).tolist() == [2]
