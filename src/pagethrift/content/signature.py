"""Keyed signatures of subpages, and SHA-256 of whole pages.

A subpage signature is 64 bits: NH over 32-bit words (Black, Halevi, Krawczyk, Krovetz,
Rogaway: UMAC, CRYPTO 1999) under two independent keys, 64 bits each, folded by a
multilinear hash modulo the prime 2^64 - 59. With keys that are new for each migration and
unknown to the guest, two different subpages have equal signatures with probability at most
2^-64 (both lanes of NH) + 2^-63 (fold) < 2^-62; docs/signatures.md derives this bound.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pagethrift.kernels import Word, kernel, load64, mul_add_128
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U64, Kind, PageBatch

SUBPAGE_BYTES = 256
LANE_WORDS = SUBPAGE_BYTES // 8
KEY_WORDS = 2 * LANE_WORDS + 4
"""64-bit words: an NH key for each lane, with two 32-bit words in a word; four words for the fold"""


@kernel
def fold(low: Word, high: Word, key: U64, at: int) -> Word:
    """Multilinear hash of four 32-bit words modulo 2^64 - 59, the largest prime below 2^64."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    total_low = np.uint64(0)
    total_high = np.uint64(0)
    total_low, total_high = mul_add_128(total_low, total_high, low & mask, key[at])
    total_low, total_high = mul_add_128(total_low, total_high, low >> shift, key[at + 1])
    total_low, total_high = mul_add_128(total_low, total_high, high & mask, key[at + 2])
    total_low, total_high = mul_add_128(total_low, total_high, high >> shift, key[at + 3])
    # The sum is below 2^98: with 2^64 = 59 (mod p), one step folds the upper 34 bits, one more the carry.
    low2, high2 = mul_add_128(total_low, np.uint64(0), total_high, np.uint64(59))
    result = low2 + high2 * np.uint64(59)
    prime = np.uint64(0xFFFFFFFFFFFFFFC5)
    if result >= prime:
        result -= prime
    return result


@kernel
def _sign_subpages(buffer: U8, positions: I64, kinds: U8, key: U64, zero: U64, out: U64) -> None:
    """Sign pages; constant loop lengths, once unrolled, keep the keys in registers (a fifth less time)."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    for i in range(len(positions)):
        if kinds[i] != Kind.PAGE:
            for column in range(len(zero)):
                out[i, column] = zero[column]
            continue
        at = positions[i]
        for column in range(PAGE_BYTES // SUBPAGE_BYTES):
            first = np.uint64(0)
            second = np.uint64(0)
            for w in range(LANE_WORDS):
                word = load64(buffer, at + 8 * w)
                low, high = word & mask, word >> shift
                a, b = key[w], key[LANE_WORDS + w]
                first += ((low + (a & mask)) & mask) * ((high + (a >> shift)) & mask)
                second += ((low + (b & mask)) & mask) * ((high + (b >> shift)) & mask)
            out[i, column] = fold(first, second, key, 2 * LANE_WORDS)
            at += SUBPAGE_BYTES


@dataclass(frozen=True, slots=True)
class SubpageSigner:
    """Signs pages as rows of 64-bit subpage signatures under one secret key."""

    key: U64
    """KEY_WORDS random words, fresh for each migration"""
    zero_row: U64
    """the signatures of an all-zero page"""

    @classmethod
    def from_secret(cls, secret: bytes) -> SubpageSigner:
        """Make a signer from at least 32 secret random bytes.

        The key words come from SHAKE-256 of the secret: as long as SHAKE is not broken, a secret
        of 32 bytes is as good as a key of full length.
        """
        return cls.from_key(
            np.frombuffer(bytearray(hashlib.shake_256(secret).digest(8 * KEY_WORDS)), np.uint64)
        )

    @classmethod
    def from_key(cls, key: U64) -> SubpageSigner:
        """Make a signer from KEY_WORDS uniformly random words."""
        row = np.empty((1, PAGE_BYTES // SUBPAGE_BYTES), np.uint64)
        page, start, kind = np.zeros(PAGE_BYTES, np.uint8), np.zeros(1, np.int64), np.ones(1, np.uint8)
        _sign_subpages(page, start, kind, key, row[0], row)
        return cls(key, row[0])

    @property
    def columns(self) -> int:
        """64-bit words a page."""
        return PAGE_BYTES // SUBPAGE_BYTES

    @property
    def subpage_bytes(self) -> int:
        """Bytes of the page that each column stands for; 0: no part of it."""
        return SUBPAGE_BYTES

    def sign(self, batch: PageBatch, out: U64) -> None:
        """Write a row of signatures for each record; ``out``: (n, columns).

        The row of an XBZRLE record says nothing.
        """
        _sign_subpages(batch.buffer, batch.position, batch.kind, self.key, self.zero_row, out)


@dataclass(frozen=True, slots=True)
class Sha256Signer:
    """Signs pages with SHA-256 (the thesis's hash; FIPS 180-4), four words a page."""

    zero_row: U64

    @classmethod
    def make(cls) -> Sha256Signer:
        """Return the signer; SHA-256 has no key."""
        return cls(np.frombuffer(bytearray(hashlib.sha256(bytes(PAGE_BYTES)).digest()), np.uint64))

    @property
    def columns(self) -> int:
        """64-bit words a page."""
        return 4

    @property
    def subpage_bytes(self) -> int:
        """0: a digest of the whole page does not tell which part changed."""
        return 0

    def sign(self, batch: PageBatch, out: U64) -> None:
        """Write a digest for each record, as SubpageSigner does; hashlib releases the GIL for each page."""
        view, whole = batch.buffer.data, int(Kind.PAGE)  # an enum would be compared ten times slower
        rows = out.view(np.uint8)
        for i, (kind, at) in enumerate(zip(batch.kind.tolist(), batch.position.tolist(), strict=True)):
            if kind != whole:
                out[i] = self.zero_row
            else:
                digest = hashlib.sha256(view[at : at + PAGE_BYTES]).digest()
                rows[i] = np.frombuffer(digest, np.uint8)
