"""The relay's outlet on virtual time: compressors that take time, and what waits for the link.

It follows relay/outlet.py: the same bound, and the same signs that the compressors cannot feed the link.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from pagethrift.model.channels import (
    BACKLOG_PACKETS,
    BACKLOG_S,
    COMPRESSOR_BPS,
    HUNGRY_SHARE,
    PATIENT_SHARE,
    QUICK_BPS,
)
from pagethrift.model.defaults import FAST_BPS, RELAY_BUFFER_S
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.simulator.simulate_options import BUFFER_S, buffer_bytes
from pagethrift.simulator.virtual_channels import VirtualPacket
from pagethrift.simulator.virtual_link import VirtualLink


class VirtualOutlet:
    """Main and channels before one link."""

    def __init__(
        self,
        link: VirtualLink,
        channels: int,
        compressor_bps: float,
        may_send_plain: bool,
        scale: float = 1.0,
    ) -> None:
        """``compressor_bps``: bytes of pages a second, of each channel with the whole window.

        ``may_send_plain`` False: pages are compressed even where the link then runs dry. ``scale``: pages of
        the guest for each page that is put here.
        """
        self._link = link
        self._scale = scale
        self._page_s = PAGE_BYTES * scale / compressor_bps
        self._quick_page_s = self._page_s * COMPRESSOR_BPS / QUICK_BPS
        self._quick = False
        """the last packet's frame"""
        self._may_send_plain = may_send_plain
        self._free_s = [0.0] * channels
        """when each compressor has done all it was given"""
        self._waiting = [0] * channels
        """packets that each has not done"""
        self._pending: list[tuple[float, int, VirtualPacket]] = []
        """a heap: (when it is compressed, number, packet)"""
        self._pending_bytes = 0
        self._number = 0

    def put(self, main_bytes: int, packets: Sequence[VirtualPacket], now_s: float) -> None:
        """Take bytes for main and packets for channels."""
        self._settle(now_s)
        if main_bytes:
            self._link.send(main_bytes, now_s)
        for packet in packets:
            begin_s = max(now_s, self._free_s[packet.channel])
            if packet.pages:
                self._quick = packet.quick
            ready_s = begin_s + packet.pages * (self._quick_page_s if packet.quick else self._page_s)
            self._free_s[packet.channel] = ready_s
            self._number += 1
            heapq.heappush(self._pending, (ready_s, self._number, packet))
            self._waiting[packet.channel] += packet.pages > 0
            self._pending_bytes += packet.size_bytes
        self._settle(now_s)

    @property
    def compressor_pages_per_s(self) -> float:
        """How many pages can be compressed where every page has to be; else 0."""
        return 0.0 if self._may_send_plain else self._pages_per_s

    @property
    def long_pages_per_s(self) -> float:
        """How many pages the compressors manage with the whole window."""
        return len(self._free_s) / self._page_s

    def unsent_bytes(self, now_s: float) -> int:
        """Return what has not left, compressed or not."""
        self._settle(now_s)
        return self._pending_bytes + self._link.unsent_bytes(now_s)

    def compressing(self, now_s: float) -> bool:
        """Whether pages that may travel either way are to be compressed; see the relay's outlet."""
        if not self._may_send_plain:
            return True
        self._settle(now_s)
        if self._behind(now_s) or self._owed_s(now_s) > BACKLOG_S:
            return False
        return self._link.rate_bps(now_s) <= self._pages_per_s * PAGE_BYTES

    def free_s(self, now_s: float) -> float:
        """Return when more can be taken: what is unsent is within the bound, or the link is running dry."""
        while True:
            self._settle(now_s)
            rate_bps = max(1.0, self._link.rate_bps(now_s))
            bound_bytes = min(rate_bps, buffer_bytes(rate_bps, self._scale, BUFFER_S))
            on_link = self._link.unsent_bytes(now_s)
            excess = self._pending_bytes + on_link - int(bound_bytes)
            free_s = max(self._free_s) - RELAY_BUFFER_S
            if free_s > now_s:
                now_s = free_s
                continue
            if excess <= 0 or (self._may_send_plain and self._behind(now_s)):
                return now_s
            times_s = [self._pending[0][0]] if self._pending else []
            if on_link:
                times_s.append(now_s + max(1e-6, self._link.seconds(min(excess, on_link), now_s)))
            now_s = min(times_s)

    def finish(self, now_s: float) -> float:
        """Compress all that waits; return when the last packet was ready for the link."""
        last_s = max([now_s, *self._free_s])
        self._settle(last_s)
        return last_s

    @property
    def _pages_per_s(self) -> float:
        return len(self._free_s) / (self._quick_page_s if self._quick else self._page_s)

    def _settle(self, now_s: float) -> None:
        """Put on the link what is compressed."""
        while self._pending and self._pending[0][0] <= now_s:
            ready_s, _, packet = heapq.heappop(self._pending)
            self._link.send(packet.size_bytes, ready_s)
            self._waiting[packet.channel] -= packet.pages > 0
            self._pending_bytes -= packet.size_bytes

    def _owed_s(self, now_s: float) -> float:
        """Return how long compressing what waits will take."""
        return max(self._free_s) - now_s

    def _behind(self, now_s: float) -> bool:
        """Whether the compressors cannot feed the link."""
        if max(self._waiting) < BACKLOG_PACKETS:
            return False
        rate_bps = max(1.0, self._link.rate_bps(now_s))
        share = HUNGRY_SHARE if rate_bps * self._scale >= FAST_BPS else PATIENT_SHARE
        return self._link.unsent_bytes(now_s) < share * buffer_bytes(rate_bps, self._scale)
