"""QEMU at the source: dirty bitmap, dirty log, rounds."""

from __future__ import annotations

import numpy as np

from pagethrift.model.pages import U8
from pagethrift.simulator.kernels import sync_bitmap
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest

CHUNK_PAGES = (1 << 30) // 4096
"""QEMU clears the dirty log of 1 GiB when it sends the first page of it (ram.c, clear_bmap_shift 18)"""


class VirtualSource:
    """Sends dirty pages in order, as migration/ram.c does.

    ``left_out``: pages not sent until the guest writes to them; a written page's mark is cleared.
    ``chunk_pages``: how much of the dirty log is cleared at once; 0: all of it at each sync (as under TCG).
    """

    def __init__(self, guest: VirtualGuest, left_out: U8, chunk_pages: int = CHUNK_PAGES) -> None:
        self.guest = guest
        self.bitmap: U8 = np.where((guest.content >= 0) & (left_out == 0), 1, 0).astype(np.uint8)
        self.remaining = int(self.bitmap.sum())
        """dirty pages still to be sent"""
        self.synced_guest_s = guest.now_s
        """guest time of the last sync"""
        self._left_out = left_out
        self._chunk_pages = chunk_pages
        chunks = 1 + len(self.bitmap) // chunk_pages if chunk_pages else 1
        self._cleared: U8 = np.zeros(chunks, np.uint8)
        self._position = 0
        guest.log[:] = 0

    def sync(self) -> int:
        """Read the dirty log; return how many pages are newly dirty."""
        fresh = int(sync_bitmap(self.guest.log, self.bitmap, self._left_out, self._chunk_pages == 0))
        self.remaining += fresh
        self._cleared[:] = 0
        self.synced_guest_s = self.guest.now_s
        return fresh

    def take(self, count: int, step_s: float) -> Snapshot:
        """Read up to ``count`` dirty pages, one every ``step_s`` guest seconds, and clear their bits."""
        count = min(count, self.remaining)
        room = Snapshot.room(count)
        self._position = self.guest.read_pages(
            self.bitmap, self._position, self._chunk_pages, self._cleared, step_s, room
        )
        self.remaining -= count
        return room
