"""The collision bounds of docs/signatures.md where they can be observed: the same functions, small words.

NH over w-bit words, two lanes of it and the multilinear fold are counted over *every* key, so
nothing here is left to chance except which pairs of messages are tried.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

WORD_BITS = 4
WORDS = 1 << WORD_BITS


def nh_all_keys(message: tuple[int, ...], bits: int) -> np.ndarray:
    """NH of a message of two or four words under every key, in key order."""
    size = 1 << bits
    grids = np.meshgrid(*[np.arange(size)] * len(message), indexing="ij")
    total = np.zeros(grids[0].shape, np.int64)
    for i in range(0, len(message), 2):
        total += ((message[i] + grids[i]) % size) * ((message[i + 1] + grids[i + 1]) % size)
    return (total % (size * size)).reshape(-1)


def largest_prime_below(limit: int) -> int:
    return next(n for n in range(limit - 1, 1, -1) if all(n % d for d in range(2, int(n**0.5) + 1)))


def fold_all_keys(parts: tuple[int, int], key_bits: int) -> np.ndarray:
    """The multilinear fold of two parts under every pair of key words, modulo the largest prime below."""
    prime = largest_prime_below(1 << key_bits)
    first, second = np.meshgrid(np.arange(1 << key_bits), np.arange(1 << key_bits), indexing="ij")
    return ((parts[0] * first + parts[1] * second) % prime).reshape(-1)


def test_nh_every_pair_of_two_words_keeps_the_bound() -> None:
    tables = {m: nh_all_keys(m, 3) for m in itertools.product(range(8), repeat=2)}
    worst = max(
        np.count_nonzero(tables[a] == tables[b]) / tables[a].size
        for a, b in itertools.combinations(tables, 2)
    )
    assert worst <= 2**-3


def test_nh_bound_is_reached_so_it_cannot_be_stated_smaller() -> None:
    tables = {m: nh_all_keys(m, 3) for m in itertools.product(range(8), repeat=2)}
    worst = max(np.count_nonzero(tables[a] == tables[b]) for a, b in itertools.combinations(tables, 2))
    assert worst == tables[(0, 0)].size // 8


@pytest.mark.parametrize("changed_words", [1, 2, 4])
def test_nh_four_words_keep_the_bound_however_many_differ(changed_words: int) -> None:
    random = np.random.default_rng(changed_words)
    for _ in range(150):
        message = random.integers(0, WORDS, 4)
        other = message.copy()
        for at in random.permutation(4)[:changed_words]:
            other[at] = (other[at] + random.integers(1, WORDS)) % WORDS
        left, right = nh_all_keys(tuple(message), WORD_BITS), nh_all_keys(tuple(other), WORD_BITS)
        assert np.count_nonzero(left == right) <= left.size >> WORD_BITS


def test_fold_keeps_twice_two_to_the_minus_key_bits() -> None:
    """Parts of 4 bits under keys of 8 bits stand as 32 to 64 in the real fold."""
    worst = 0.0
    zero = fold_all_keys((0, 0), 8)
    for difference in itertools.product(range(16), range(16)):
        if difference != (0, 0):
            table = fold_all_keys(difference, 8)
            worst = max(worst, np.count_nonzero(table == zero) / table.size)
    assert worst == 2 / 2**8


def test_two_lanes_under_independent_keys_keep_the_product_and_reach_it() -> None:
    """Every pair of messages of two 2-bit words, every one of 256 keys of both lanes."""
    lane = {m: nh_all_keys(m, 2) for m in itertools.product(range(4), repeat=2)}
    tables = {m: (one[:, None] + 16 * one[None, :]).reshape(-1) for m, one in lane.items()}
    worst = max(
        np.count_nonzero(tables[a] == tables[b]) / tables[a].size
        for a, b in itertools.combinations(tables, 2)
    )
    assert worst == 2**-4


@functools.cache
def fold_collisions(difference: tuple[int, ...], key_bits: int) -> float:
    """Share of fold keys under which the parts' differences sum to 0 modulo the prime, counted exactly."""
    prime = largest_prime_below(1 << key_bits)
    counts = np.eye(1, prime, dtype=np.int64)[0]
    for part in difference:
        products = np.bincount(part * np.arange(1 << key_bits) % prime, minlength=prime)
        counts = np.array([int(counts @ np.roll(products[::-1], at + 1)) for at in range(prime)])
    return float(counts[0]) / float((1 << key_bits) ** len(difference))


def test_lanes_and_fold_together_keep_the_sum_of_their_bounds() -> None:
    """Two lanes of NH over 2-bit words make four parts of 2 bits; fold keys of 4 bits, prime 13.

    Parts of 2 bits under keys of 4 stand as 32 to 64 in the real fold; 16 is less than twice 13, so a
    residue has at most two keys here too.
    """
    random = np.random.default_rng(7)
    for _ in range(12):
        left, right = random.integers(0, 4, (2, 2))
        if (left == right).all():
            continue
        pairs = list(zip(nh_all_keys(tuple(left), 2), nh_all_keys(tuple(right), 2), strict=True))
        share = 0.0
        for (one, other), (two, another) in itertools.product(pairs, repeat=2):
            parts = (
                one % 4 - other % 4,
                one // 4 - other // 4,
                two % 4 - another % 4,
                two // 4 - another // 4,
            )
            share += fold_collisions(tuple(int(part) for part in parts), 4) / len(pairs) ** 2
        assert share <= 2**-4 + 2 / 2**4


def test_these_counts_catch_two_lanes_under_one_key() -> None:
    """Not two lanes: the same key twice collides as one lane does."""
    left, right = nh_all_keys((0, 0), 2), nh_all_keys((0, 1), 2)
    assert np.count_nonzero(left == right) / left.size > 2**-4


def test_these_counts_catch_a_product_with_only_one_keyed_factor() -> None:
    """Not NH: m_0 * (m_1 + k). Where m_0 is 0 every m_1 collides, under every key."""
    keys = np.arange(WORDS)
    left, right = 0 * ((3 + keys) % WORDS), 0 * ((9 + keys) % WORDS)
    assert np.count_nonzero(left == right) > left.size >> WORD_BITS


def test_these_counts_catch_a_fold_modulo_a_power_of_two() -> None:
    """Not the fold: modulo 2^8 a difference of 8 is no unit, and one key in 32 cancels it."""
    keys = np.arange(256)
    assert np.count_nonzero(8 * keys % 256 == 0) / 256 > 2 / 2**8
