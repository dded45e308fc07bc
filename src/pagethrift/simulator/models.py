"""Features of published systems that QEMU's stream lacks: skipping what was ever seen, and references."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import Word, kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, U8, U64
from pagethrift.simulator.virtual_guest import Snapshot

REFERENCE_BYTES = 8 + 8
"""a record's word and a 64-bit fingerprint of a content that the destination holds"""

_FIRST_SLOTS = 1 << 16


@kernel
def _mixed(first: I64, second: I64, out: U64) -> None:
    for i in range(len(first)):
        word: Word = np.uint64(first[i]) * np.uint64(0x9E3779B97F4A7C15)
        word ^= word >> np.uint64(29)
        word = (word + np.uint64(second[i])) * np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(32)
        word *= np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(29)
        out[i] = word if word != 0 else np.uint64(1)


@kernel
def _look_up(table: U64, keys: U64, adds: bool, found: U8) -> int:
    """Write 1 for keys in an open-addressing set, add the others; return how many were added."""
    mask = np.uint64(len(table) - 1)
    added = 0
    for i in range(len(keys)):
        slot = np.int64(keys[i] & mask)
        while table[slot] != 0 and table[slot] != keys[i]:
            slot = (slot + 1) & np.int64(mask)
        found[i] = 1 if table[slot] != 0 else 0
        if adds and table[slot] == 0:
            table[slot] = keys[i]
            added += 1
    return added


class PairSet:
    """A growing set of pairs of numbers, kept as 64-bit hashes."""

    def __init__(self) -> None:
        self._table: U64 = np.zeros(_FIRST_SLOTS, np.uint64)
        self._used = 0

    def contains(self, first: I64, second: I64) -> U8:
        """Return 1 for each pair that is in the set."""
        found: U8 = np.zeros(len(first), np.uint8)
        _look_up(self._table, self._keys(first, second), False, found)
        return found

    def add(self, first: I64, second: I64) -> None:
        """Add pairs to the set."""
        keys = self._keys(first, second)
        scratch: U8 = np.zeros(len(keys), np.uint8)
        while 2 * (self._used + len(keys)) > len(self._table):
            old = self._table[self._table != 0]
            self._table = np.zeros(2 * len(self._table), np.uint64)
            _look_up(self._table, old, True, np.zeros(len(old), np.uint8))
        self._used += _look_up(self._table, keys, True, scratch)

    def _keys(self, first: I64, second: I64) -> U64:
        keys: U64 = np.empty(len(first), np.uint64)
        _mixed(first, second, keys)
        return keys


class SkipSeen:
    """The thesis's pseudo-code as printed: skip a page whose content was seen in any earlier round."""

    def __init__(self) -> None:
        self._seen = PairSet()

    def adjust(self, pages: Snapshot, state: U8, round_: int, methods: U8, sizes: I32) -> None:
        """Skip a content that this page had before, even if the destination now holds another."""
        skipped = self._seen.contains(pages.page, pages.content) != 0
        methods[skipped] = Method.SKIP
        sizes[skipped] = 0
        self._seen.add(pages.page, pages.content)

    def sent(self, pages: Snapshot, methods: U8) -> None:
        """Do nothing: a hash counts as seen whether it was sent or not."""


class Deduplicate:
    """A page that equals any page forwarded before travels as a reference (whole pages only)."""

    def __init__(self) -> None:
        self._sent = PairSet()

    def adjust(self, pages: Snapshot, state: U8, round_: int, methods: U8, sizes: I32) -> None:
        """Replace records longer than a reference."""
        known = self._sent.contains(np.zeros_like(pages.content), pages.content) != 0
        known &= sizes > REFERENCE_BYTES
        methods[known] = Method.DELTA
        sizes[known] = REFERENCE_BYTES

    def sent(self, pages: Snapshot, methods: U8) -> None:
        """Remember the contents that the destination has held."""
        out = (methods != Method.SKIP) & (methods != Method.HOLD)
        content = pages.content[out]
        self._sent.add(np.zeros_like(content), content)
