"""QEMU's rounds, told from what arrives: for a relay that nobody tells of them.

QEMU goes through its dirty bitmap in the order of blocks and pages, from where it stopped, and begins at the
first block again (migration/ram.c, find_dirty_block). It reads the dirty log anew when little is left, which
is near the end of such a pass. So a page number that is not above the last one begins a round. Over multifd
channels pages come in no order; QEMU 8.1 and later write MULTIFD_FLUSH to main at each new pass.
"""

from __future__ import annotations

import numpy as np

from pagethrift.model.pages import I64

BINS = 4096
"""parts of the guest's memory, in each of which pages are counted"""
LEAST_SHARE, MOST_SHARE = 0.25, 4.0
"""how many pages a pass may have, against the pass before"""


class Passes:
    """Counts the passes of one migration, 0 is the first, and knows about how much of one is left."""

    def __init__(self, total_pages: int = 0) -> None:
        self.number = 0
        self._total_pages = total_pages
        self._bin_pages = max(1, -(-total_pages // BINS))
        self._before: I64 = np.zeros(BINS, np.int64)
        """pages of the last pass, in each bin"""
        self._now: I64 = np.zeros(BINS, np.int64)
        self._last = -1
        self._wraps = 0
        """passes that began within the last batch"""
        self._pages_since_flush = False

    def main_sent(self, pages: I64) -> None:
        """Note the pages of a batch of main, in the order of the stream, before it is forwarded.

        Where a pass ends within the batch, the whole batch counts as the earlier one.
        """
        if not len(pages):
            return
        begun = int(pages[0] <= self._last) + self._wraps
        if begun:
            self.number += begun
            self._before, self._now = self._now, np.zeros(BINS, np.int64)
        self._wraps = int(np.any(pages[1:] < pages[:-1]))
        self._last = int(pages[-1])
        self._now += np.bincount(pages // self._bin_pages, minlength=BINS)

    @property
    def pages_left(self) -> int:
        """How many pages of main this pass will still have, as the last one had; in the first, at most."""
        if not self.number:
            return self._total_pages - 1 - self._last
        here = max(0, self._last) // self._bin_pages + 1
        had = int(self._before[:here].sum())
        share = int(self._now.sum()) / had if had else 1.0
        return int(min(MOST_SHARE, max(LEAST_SHARE, share)) * int(self._before[here:].sum()))

    def channels_sent(self) -> None:
        """Note that pages came over the source's multifd channels."""
        self._pages_since_flush = True

    def flushed(self) -> None:
        """Note MULTIFD_FLUSH; the one before the first page begins nothing."""
        self.number += self._pages_since_flush
        self._pages_since_flush = False
