"""What a recorder keeps instead of a page's bytes: content id, changed subpages, sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pagethrift.content.ledger import Ledger, State
from pagethrift.content.signature import SubpageSigner
from pagethrift.kernels import copy_bytes, kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import I64, PAGE_BYTES, U8, U16, U32, U64, Kind, PageBatch
from pagethrift.stream.encoding.delta import delta_bytes
from pagethrift.stream.encoding.sparse import sparse_bytes
from pagethrift.stream.xbzrle import encode_delta
from pagethrift.trace.contents import ContentIds, hash_rows
from pagethrift.trace.sweeps import SweepRows
from pagethrift.trace.write import Rows

ZSTD_SHARE = 1 / 16
"""one page in so many is compressed: compressing all would cost more than everything else together"""
ZSTD_LEVEL = 1


@kernel
def _sizes(
    buffer: U8, positions: I64, kinds: U8, pages: I64, masks: U32, state: U8, subpage_bytes: int,
    copies: U8, scratch: U8, sparse: U16, delta: U16,
) -> None:  # fmt: skip
    exact = len(copies) > 0
    for i in range(len(pages)):
        zero = kinds[i] == Kind.ZERO
        sparse[i] = 0 if zero else sparse_bytes(buffer, positions[i])
        delta[i] = 0
        at = pages[i] * PAGE_BYTES
        if state[pages[i]] != State.NEVER and masks[i] != 0:
            if not exact:
                delta[i] = min(delta_bytes(masks[i], subpage_bytes), PAGE_BYTES)
            else:
                end = -1
                if zero:
                    scratch[:PAGE_BYTES] = 0
                    end = encode_delta(copies, at, scratch, 0, scratch, PAGE_BYTES, PAGE_BYTES)
                else:
                    end = encode_delta(copies, at, buffer, positions[i], scratch, PAGE_BYTES, PAGE_BYTES)
                delta[i] = PAGE_BYTES if end < 0 else min(end - PAGE_BYTES, PAGE_BYTES)
        if exact and (masks[i] != 0 or state[pages[i]] == State.NEVER):
            if zero:
                if state[pages[i]] != State.NEVER:
                    copies[at : at + PAGE_BYTES] = 0
            else:
                copy_bytes(copies, at, buffer, positions[i], PAGE_BYTES)


class PageMeter:
    """Turns page batches into trace rows.

    Keeps one row of signatures for each page (3.2 % of RAM) and, if ``exact``, a copy of its last
    content (a page takes memory once it was seen with content that is not zero).
    """

    def __init__(self, pages: int, secret: bytes, exact: bool, zstd_share: float = ZSTD_SHARE) -> None:
        self._signer = SubpageSigner.from_secret(secret)
        self._ledger = Ledger(pages, self._signer.zero_row)
        self._key = np.frombuffer(bytearray(secret * 4)[: 8 * self._signer.columns], np.uint64)
        zero_hash: U64 = np.empty(1, np.uint64)
        hash_rows(self._signer.zero_row.reshape(1, -1), self._key, zero_hash)
        self._ids = ContentIds(int(zero_hash[0]))
        self._held: U64 = np.zeros(pages, np.uint64)
        self._copies: U8 = np.zeros(pages * PAGE_BYTES if exact else 0, np.uint8)
        self._scratch: U8 = np.zeros(4 * PAGE_BYTES, np.uint8)
        self._zstd = pa.Codec("zstd", compression_level=ZSTD_LEVEL)
        self._zstd_below = np.uint64(int(zstd_share * 2**32))

    @property
    def forgotten(self) -> int:
        """How often unused content ids had to be forgotten."""
        return self._ids.forgotten

    def measure(self, batch: PageBatch) -> Rows:
        """Return the rows of a batch and remember its contents."""
        n = len(batch)
        signs: U64 = np.empty((n, self._signer.columns), np.uint64)
        masks: U32 = np.empty(n, np.uint32)
        hashes: U64 = np.empty(n, np.uint64)
        sparse, delta = np.empty(n, np.uint16), np.empty(n, np.uint16)
        self._signer.sign(batch, signs)
        self._ledger.compare(batch.page, batch.kind, signs, masks)
        hash_rows(signs, self._key, hashes)
        content = self._ids.number(hashes, self._held)
        _sizes(
            batch.buffer, batch.position, batch.kind, batch.page, masks, self._ledger.state,
            self._signer.subpage_bytes, self._copies, self._scratch, sparse, delta,
        )  # fmt: skip
        self._ledger.commit(batch.page, signs, np.full(n, Method.FULL, np.uint8))
        self._held[batch.page] = hashes
        return Rows(
            batch.page.copy(), content, (masks & np.uint32(0xFFFF)).astype(np.uint16), content == 0,
            delta, sparse, self._compressed(batch, hashes, sparse),
        )  # fmt: skip

    def _compressed(self, batch: PageBatch, hashes: U64, sparse: U16) -> U16:
        sizes: U16 = np.zeros(len(batch), np.uint16)
        low: npt.NDArray[np.uint64] = hashes & np.uint64(0xFFFFFFFF)
        for i in np.flatnonzero((low < self._zstd_below) & (sparse > 0)):
            at = int(batch.position[i])
            sizes[i] = min(len(self._zstd.compress(batch.buffer[at : at + PAGE_BYTES])), PAGE_BYTES)
        return sizes


def warm_up_meter() -> None:
    """Compile (or load from Numba's cache) every kernel of a recording before a guest waits for it."""
    buffer: U8 = np.ones(PAGE_BYTES, np.uint8)
    page, position = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for exact in (False, True):
        meter = PageMeter(2, bytes(range(32)), exact)
        rows = SweepRows(2)
        for kind in (1, 0):
            length = np.full(1, PAGE_BYTES, np.int32)
            rows.add(meter.measure(PageBatch(page, np.full(1, kind, np.uint8), position, length, buffer)))
