"""Gathering the rows of one sweep, each page once."""

from __future__ import annotations

import numpy as np

from pagethrift.kernels import Word, kernel
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U16, U32
from pagethrift.trace.write import Rows


@kernel
def _merge(
    page: I64, content: U32, changed: U16, delta: U16, sparse: U16, zstd: U16,
    slot_of: I32, count: int,
    pages: I64, contents: U32, changes: U16, deltas: U16, sparses: U16, zstds: U16,
) -> int:  # fmt: skip
    for i in range(len(page)):
        slot = slot_of[page[i]] - 1
        if slot < 0:
            slot = count
            count += 1
            slot_of[page[i]] = slot + 1
            pages[slot] = page[i]
            changes[slot] = changed[i]
            deltas[slot] = delta[i]
        else:
            changes[slot] |= changed[i]
            both: Word = np.int64(deltas[slot]) + np.int64(delta[i])
            deltas[slot] = min(both, PAGE_BYTES)
        contents[slot] = content[i]
        sparses[slot] = sparse[i]
        zstds[slot] = zstd[i]
    return count


class SweepRows:
    """One sweep's rows; a page that comes twice keeps its newest content and all its changes.

    Memory is taken as rows come: at most 22 bytes a row, and a row for each page.
    """

    def __init__(self, pages: int) -> None:
        self._slot_of: I32 = np.zeros(pages, np.int32)
        self._page: I64 = np.empty(pages, np.int64)
        self._content: U32 = np.empty(pages, np.uint32)
        self._small = [np.empty(pages, np.uint16) for _ in range(4)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Take in the rows of a batch."""
        changed, delta, sparse, zstd = self._small
        self._count = _merge(
            rows.page, rows.content, rows.changed, rows.delta_bytes, rows.sparse_bytes, rows.zstd_bytes,
            self._slot_of, self._count, self._page, self._content, changed, delta, sparse, zstd,
        )  # fmt: skip

    def take(self, classes: U8 | None) -> Rows:
        """Return the rows and begin a new sweep; ``classes``: the class of every page of the guest."""
        n = self._count
        page, content = self._page[:n].copy(), self._content[:n].copy()
        changed, delta, sparse, zstd = (column[:n].copy() for column in self._small)
        self._slot_of[page] = 0
        self._count = 0
        return Rows(
            page, content, changed, content == 0, delta, sparse, zstd,
            None if classes is None else classes[page],
        )  # fmt: skip
