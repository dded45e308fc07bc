"""Content ids: equal contents have one number, and a full table forgets only what no page holds."""

from __future__ import annotations

import numpy as np

from pagethrift.trace.contents import ContentIds, hash_rows


def test_rows_that_differ_in_one_word_or_in_order_have_other_hashes() -> None:
    rng = np.random.default_rng(1)
    signs = rng.integers(0, 1 << 64, (200, 16), np.uint64)
    signs[100:] = signs[:100]
    signs[100:, 3] ^= np.uint64(1)
    signs[0], signs[1] = signs[2][::-1], signs[2]
    out = np.zeros(len(signs), np.uint64)
    hash_rows(signs, rng.integers(0, 1 << 64, 16, np.uint64), out)
    assert out[1] == out[2]
    assert len(set(out.tolist())) == len(out) - 1


def test_a_hash_is_never_zero() -> None:
    """Zero marks a free slot of the table."""
    key = np.arange(16, dtype=np.uint64)
    out = np.zeros(1, np.uint64)
    hash_rows(key.reshape(1, 16).copy(), key, out)  # every word folds to zero
    assert out[0] == 1


def test_ids_survive_growth_and_are_forgotten_when_full() -> None:
    ids = ContentIds(zero_hash=99, most_slots=1 << 16)
    none = np.zeros(4, np.uint64)
    first = np.arange(1000, 1000 + 20_000, dtype=np.uint64)
    numbers = ids.number(first, none)
    assert numbers.tolist() == list(range(1, 20_001))
    assert ids.number(np.array([99, 1000], np.uint64), none).tolist() == [0, 1]
    held = np.array([1000], np.uint64)
    ids.number(np.arange(10**6, 10**6 + 20_000, dtype=np.uint64), held)
    assert ids.forgotten == 1
    after = ids.number(np.array([99, 1000, 1001], np.uint64), held).tolist()
    assert after[:2] == [0, 1]
    assert after[2] > 20_000
