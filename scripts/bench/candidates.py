"""Signature candidates: what could stand in the ledger instead of NH-64 and its fold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scripts.bench.mixes import records

from pagethrift.content.signature import SubpageSigner
from pagethrift.kernels import Word, kernel, load64, mul_add_128
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U64, PageBatch

SUBPAGES = (128, 256, 512)
BATCH_PAGES = 256
BATCHES = 4
"""4 MiB, as the reader's buffer: in the third-level cache, not in the second"""


@kernel
def _fold(low: Word, high: Word, key: U64) -> Word:
    """The fold of content/signature.py, over four key words of its own."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    sum_low, sum_high = np.uint64(0), np.uint64(0)
    sum_low, sum_high = mul_add_128(sum_low, sum_high, low & mask, key[0])
    sum_low, sum_high = mul_add_128(sum_low, sum_high, low >> shift, key[1])
    sum_low, sum_high = mul_add_128(sum_low, sum_high, high & mask, key[2])
    sum_low, sum_high = mul_add_128(sum_low, sum_high, high >> shift, key[3])
    low2, high2 = mul_add_128(sum_low, np.uint64(0), sum_high, np.uint64(59))
    result = low2 + high2 * np.uint64(59)
    prime = np.uint64(0xFFFFFFFFFFFFFFC5)
    return result - prime if result >= prime else result


@kernel
def nh32_pages(
    buffer: U8, positions: I64, subpage: int, first: U64, second: U64, fold_key: U64, out: U64
) -> None:
    """Two independent lanes of NH over 32-bit words, which vectorise, then the fold.

    A 64-bit word is a pair of 32-bit words; keys are packed likewise.
    """
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    words = subpage // 8
    for i in range(len(positions)):
        at = positions[i]
        for column in range(PAGE_BYTES // subpage):
            one, two = np.uint64(0), np.uint64(0)
            for w in range(words):
                word = load64(buffer, at + 8 * w)
                low, high = word & mask, word >> shift
                a, b = first[w], second[w]
                one += ((low + (a & mask)) & mask) * ((high + (a >> shift)) & mask)
                two += ((low + (b & mask)) & mask) * ((high + (b >> shift)) & mask)
            out[i, column] = _fold(one, two, fold_key)
            at += subpage


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to sign a batch of pages."""

    name: str
    sign: Callable[[PageBatch], None]
    ledger_bytes: int
    """a page's row"""
    bound: str
    """probability that two different subpages (or pages) look equal"""
    bound_kind: str
    """proved, heuristic or none"""
    keyed: str
    granularity_bytes: int


def batch_of_pages() -> PageBatch:
    """Return random pages where the reader would leave them: 4104 bytes apart, unaligned."""
    pages = BATCH_PAGES * BATCHES
    random = np.random.default_rng(1).integers(0, 1 << 64, pages * 512, np.uint64)
    buffer = records(0, random.view(np.uint8).reshape(pages, PAGE_BYTES))
    positions = np.arange(pages, dtype=np.int64) * (8 + PAGE_BYTES) + 8
    return PageBatch(
        np.arange(pages, dtype=np.int64), np.ones(pages, np.uint8), positions,
        np.full(pages, PAGE_BYTES, np.int32), buffer,
    )  # fmt: skip


def candidates() -> Iterator[Candidate]:
    """Yield every candidate that can run here."""
    for subpage in SUBPAGES:
        yield _nh64(subpage)
        yield _nh32(subpage)
    yield from _xxh3()
    yield from _whole_pages()


def _nh64(subpage: int) -> Candidate:
    signer = SubpageSigner.from_secret(bytes(32), subpage)
    out = np.empty((BATCH_PAGES, signer.columns), np.uint64)
    return Candidate(
        f"NH-64 + fold, {subpage}", lambda batch: signer.sign(batch, out[: len(batch)]),
        8 * signer.columns, "3 x 2^-64", "proved", "yes", subpage,
    )  # fmt: skip


def _nh32(subpage: int) -> Candidate:
    random = np.random.default_rng(2)
    first, second, fold_key = (
        random.integers(0, 1 << 64, n, np.uint64) for n in (subpage // 8, subpage // 8, 4)
    )
    columns = PAGE_BYTES // subpage
    out = np.empty((BATCH_PAGES, columns), np.uint64)

    def sign(batch: PageBatch) -> None:
        nh32_pages(batch.buffer, batch.position, subpage, first, second, fold_key, out)

    return Candidate(f"NH-32 x 2 + fold, {subpage}", sign, 8 * columns, "3 x 2^-64", "proved", "yes", subpage)


def _by_piece(hash_of: Callable[[Any], Any], piece: int) -> Callable[[PageBatch], None]:
    def sign(batch: PageBatch) -> None:
        view = batch.buffer.data
        for at in batch.position.tolist():
            for start in range(at, at + PAGE_BYTES, piece):
                hash_of(view[start : start + piece])

    return sign


def _xxh3() -> Iterator[Candidate]:
    try:
        import xxhash
    except ImportError:
        return
    for bits, hash_of in ((64, xxhash.xxh3_64_intdigest), (128, xxhash.xxh3_128_digest)):
        for piece in (*SUBPAGES, PAGE_BYTES):
            where = "page" if piece == PAGE_BYTES else str(piece)
            yield Candidate(
                f"XXH3-{bits}, {where}", _by_piece(hash_of, piece), PAGE_BYTES // piece * bits // 8,
                f"about 2^-{bits} if it behaves randomly", "heuristic", "seed only", piece,
            )  # fmt: skip


def _whole_pages() -> Iterator[Candidate]:
    try:
        from blake3 import blake3
    except ImportError:
        pass
    else:
        key = bytes(range(32))
        yield Candidate(
            "BLAKE3 keyed, page", _by_piece(lambda data: blake3(data, key=key).digest(), PAGE_BYTES),
            32, "about 2^-128 to find one", "heuristic", "yes", PAGE_BYTES,
        )  # fmt: skip
    yield Candidate(
        "SHA-256, page", _by_piece(lambda data: hashlib.sha256(data).digest(), PAGE_BYTES),
        32, "about 2^-128 to find one", "heuristic", "no", PAGE_BYTES,
    )  # fmt: skip
