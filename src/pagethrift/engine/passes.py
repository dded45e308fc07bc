"""QEMU's rounds, told from what arrives: for a relay that nobody tells of them.

QEMU goes through its dirty bitmap in the order of blocks and pages, from where it stopped, and begins at the
first block again (migration/ram.c, find_dirty_block). It reads the dirty log anew when little is left, which
is near the end of such a pass. So a page number that is not above the last one begins a round. Over multifd
channels pages come in no order; QEMU 8.1 and later write MULTIFD_FLUSH to main at each new pass.
"""

from __future__ import annotations

import numpy as np

from pagethrift.model.pages import I64


class Passes:
    """Counts the passes of one migration; 0 is the first."""

    def __init__(self) -> None:
        self.number = 0
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
        self.number += int(pages[0] <= self._last) + self._wraps
        self._wraps = int(np.any(pages[1:] < pages[:-1]))
        self._last = int(pages[-1])

    def channels_sent(self) -> None:
        """Note that pages came over the source's multifd channels."""
        self._pages_since_flush = True

    def flushed(self) -> None:
        """Note MULTIFD_FLUSH; the one before the first page begins nothing."""
        self.number += self._pages_since_flush
        self._pages_since_flush = False
