"""Signature candidates: what could stand in the ledger, and what does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scripts.bench.mixes import records

from pagethrift.content.signature import SUBPAGE_BYTES, SubpageSigner, fold
from pagethrift.kernels import kernel, load64, mul_add_128
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U64, PageBatch

SUBPAGES = (128, 256, 512)
AS_USED = "NH-32 x 2 + fold, 256, as used"
BATCH_PAGES = 256
BATCHES = 4
"""4 MiB, as the reader's buffer: in the third-level cache, not in the second"""


@kernel
def nh64_pages(buffer: U8, positions: I64, subpage: int, key: U64, fold_key: U64, out: U64) -> None:
    """NH over 64-bit words, 128 bits wide, which does not vectorise, then the fold."""
    for i in range(len(positions)):
        at = positions[i]
        for column in range(PAGE_BYTES // subpage):
            low, high = np.uint64(0), np.uint64(0)
            for w in range(0, subpage // 8, 2):
                one = load64(buffer, at + 8 * w) + key[w]
                two = load64(buffer, at + 8 * w + 8) + key[w + 1]
                low, high = mul_add_128(low, high, one, two)
            out[i, column] = fold(low, high, fold_key, 0)
            at += subpage


@kernel
def nh32_pages(
    buffer: U8, positions: I64, subpage: int, first: U64, second: U64, fold_key: U64, out: U64
) -> None:
    """content/signature.py for any size of subpage: two lanes of NH over 32-bit words, then the fold."""
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
            out[i, column] = fold(one, two, fold_key, 0)
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
    yield _as_used()
    for subpage in SUBPAGES:
        yield _nh64(subpage)
        yield _nh32(subpage)
    yield from _xxh3()
    yield from _whole_pages()


def _as_used() -> Candidate:
    signer = SubpageSigner.from_secret(bytes(32))
    out = np.empty((BATCH_PAGES, signer.columns), np.uint64)
    return _nh(AS_USED, lambda batch: signer.sign(batch, out[: len(batch)]), SUBPAGE_BYTES)


def _nh64(subpage: int) -> Candidate:
    key, fold_key = _random_words(subpage // 8, 4)
    out = np.empty((BATCH_PAGES, PAGE_BYTES // subpage), np.uint64)

    def sign(batch: PageBatch) -> None:
        nh64_pages(batch.buffer, batch.position, subpage, key, fold_key, out)

    return _nh(f"NH-64 + fold, {subpage}", sign, subpage)


def _nh32(subpage: int) -> Candidate:
    first, second, fold_key = _random_words(subpage // 8, subpage // 8, 4)
    out = np.empty((BATCH_PAGES, PAGE_BYTES // subpage), np.uint64)

    def sign(batch: PageBatch) -> None:
        nh32_pages(batch.buffer, batch.position, subpage, first, second, fold_key, out)

    return _nh(f"NH-32 x 2 + fold, {subpage}", sign, subpage)


def _nh(name: str, sign: Callable[[PageBatch], None], subpage: int) -> Candidate:
    return Candidate(name, sign, 8 * (PAGE_BYTES // subpage), "3 x 2^-64", "proved", "yes", subpage)


def _random_words(*counts: int) -> list[U64]:
    random = np.random.default_rng(2)
    return [random.integers(0, 1 << 64, count, np.uint64) for count in counts]


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
