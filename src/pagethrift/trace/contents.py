"""Content ids: a small number for each distinct page content, in the order of first sight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pagethrift.kernels import Word, kernel
from pagethrift.model.pages import U64

U32 = npt.NDArray[np.uint32]

FIRST_SLOTS = 1 << 16
MOST_SLOTS = 1 << 24
"""8 million contents, a table of 200 MB"""


@kernel
def hash_rows(signs: U64, key: U64, out: U64) -> None:
    """Fold each row of subpage signatures into one 64-bit hash, never 0."""
    for i in range(signs.shape[0]):
        total: Word = np.uint64(0)
        for column in range(signs.shape[1]):
            word: Word = (signs[i, column] ^ key[column]) * np.uint64(0x9E3779B97F4A7C15)
            word ^= word >> np.uint64(32)
            total = (total ^ word) * np.uint64(0xD6E8FEB86659FD93)
            total ^= total >> np.uint64(29)
        out[i] = total if total != 0 else np.uint64(1)


@kernel
def _identify(hashes: U64, keys: U64, ids: U32, following: int, out: U32) -> int:
    """Look hashes up and give new ones the next numbers; return the next free number."""
    mask = np.uint64(len(keys) - 1)
    for i in range(len(hashes)):
        slot = np.int64(hashes[i] & mask)
        while keys[slot] != 0 and keys[slot] != hashes[i]:
            slot = (slot + 1) & np.int64(mask)
        if keys[slot] == 0:
            keys[slot] = hashes[i]
            ids[slot] = following
            following += 1
        out[i] = ids[slot]
    return following


class ContentIds:
    """Numbers contents over all pages; equal contents of different pages share a number.

    The table is bounded: when it is full, contents that no page holds any more are forgotten, and a
    forgotten content that comes back gets a new number.
    """

    def __init__(self, zero_hash: int, most_slots: int = MOST_SLOTS) -> None:
        self._most_slots = most_slots
        self._keys: U64 = np.zeros(min(FIRST_SLOTS, most_slots), np.uint64)
        self._ids: U32 = np.zeros(len(self._keys), np.uint32)
        self._used = 0
        self._following = 0
        self.forgotten = 0
        """how often the table was emptied"""
        self._number(np.array([zero_hash], np.uint64))

    def number(self, hashes: U64, held: U64) -> U32:
        """Return the id of each hash; ``held``: hashes of the present contents of all pages (0: not seen)."""
        if 2 * (self._used + len(hashes)) > len(self._keys):
            self._make_room(len(hashes), held)
        return self._number(hashes)

    def _number(self, hashes: U64) -> U32:
        out = np.empty(len(hashes), np.uint32)
        after = _identify(hashes, self._keys, self._ids, self._following, out)
        self._used += after - self._following
        self._following = after
        return out

    def _make_room(self, wanted: int, held: U64) -> None:
        keys, ids = self._keys, self._ids
        used = keys != 0
        size = 2 * len(keys)
        if size > self._most_slots:
            keep = np.isin(keys, held) | (ids == 0)
            used &= keep
            self.forgotten += 1
            size = len(keys)
            while 2 * (int(used.sum()) + wanted) > size:
                size *= 2
        self._keys, self._ids = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
        self._used = int(used.sum())
        _reinsert(keys[used], ids[used], self._keys, self._ids)


@kernel
def _reinsert(old_keys: U64, old_ids: U32, keys: U64, ids: U32) -> None:
    mask = np.uint64(len(keys) - 1)
    for i in range(len(old_keys)):
        slot = np.int64(old_keys[i] & mask)
        while keys[slot] != 0:
            slot = (slot + 1) & np.int64(mask)
        keys[slot] = old_keys[i]
        ids[slot] = old_ids[i]
