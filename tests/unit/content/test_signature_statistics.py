"""The collision bounds of docs/signatures.md where they can be observed: the same functions, small words.

NH over w-bit words and the multilinear fold are counted over *every* key, so nothing
here is left to chance except which pairs of messages are tried.
"""

from __future__ import annotations

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
    for difference in itertools.product(range(16), repeat=2):
        if difference != (0, 0):
            table = fold_all_keys(difference, 8)
            worst = max(worst, np.count_nonzero(table == zero) / table.size)
    assert worst == 2 / 2**8


def test_nh_and_fold_together_keep_the_sum_of_their_bounds() -> None:
    """NH over two 4-bit words gives 8 bits; two halves of 4 are folded modulo the prime below 2^8."""
    bound = 2**-WORD_BITS + 2 / 2**8
    random = np.random.default_rng(7)
    every = np.arange(256)
    prime = largest_prime_below(256)
    for _ in range(8):
        left_message, right_message = random.integers(0, WORDS, (2, 2))
        if (left_message == right_message).all():
            continue
        left = nh_all_keys(tuple(left_message), WORD_BITS)
        right = nh_all_keys(tuple(right_message), WORD_BITS)
        low = (left % WORDS - right % WORDS)[:, None, None] * every[None, :, None]
        high = (left // WORDS - right // WORDS)[:, None, None] * every[None, None, :]
        collisions = np.count_nonzero((low + high) % prime == 0)
        assert collisions / (left.size * 256 * 256) <= bound


def test_these_counts_catch_a_product_with_only_one_keyed_factor() -> None:
    """Not NH: m_0 * (m_1 + k). Where m_0 is 0 every m_1 collides, under every key."""
    keys = np.arange(WORDS)
    left, right = 0 * ((3 + keys) % WORDS), 0 * ((9 + keys) % WORDS)
    assert np.count_nonzero(left == right) > left.size >> WORD_BITS


def test_these_counts_catch_a_fold_modulo_a_power_of_two() -> None:
    """Not the fold: modulo 2^8 a difference of 8 is no unit, and one key in 32 cancels it."""
    keys = np.arange(256)
    assert np.count_nonzero(8 * keys % 256 == 0) / 256 > 2 / 2**8
