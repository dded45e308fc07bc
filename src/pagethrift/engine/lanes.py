"""Lanes: over which connection each page went, and what it would cost over its channel.

The destination reads main and each channel in order, but in no order between them, except at a sync: what was
written before a sync is applied before anything after it. The time between two syncs is an epoch. Within an
epoch a page therefore stays in one lane, main or its channel; which of the two is chosen anew in the next.
"""

from __future__ import annotations

import numpy as np

from pagethrift.content.ledger import ALL_CHANGED
from pagethrift.engine.choice import ONLY_CHANNEL, Payload
from pagethrift.kernels import kernel
from pagethrift.model.channels import HURRIED_SHARE, UNHURRIED_SHARE, ChannelSettings
from pagethrift.model.defaults import FAST_BPS
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32
from pagethrift.stream.encoding.packet import channel_of

SKIP, SPARSE, CHANNEL = int(Allow.SKIP), int(Allow.SPARSE), int(Allow.CHANNEL)
WINDOW_SHARE = 0.94
"""of the window that is counted on: a match must lie in it as a whole, and packets are ahead of the count"""
NEAR_HEAD_BYTES = 24
"""what a page costs whose copy is in the window, besides its changed parts: matches and literals' heads"""
FAR_SHARE, NEAR_SHARE = 0.5, 0.8
"""guesses until packets have been measured: of a page compressed for the first time, of changed subpages"""
NEWEST_SHARE = 0.1
"""weight of the last packet in a running mean"""
SLACK = 0.8
"""of FAST_BPS, where quick frames end again: every change costs the windows"""
SLOW_SHARE = 0.02
"""the same in a mean that tells of the guest and not of the part that is being sent"""


@kernel
def restrict_lanes(pages: I64, where: U32, epoch: int, compressing: int, allowed: U8) -> int:
    """Take from ``allowed`` what the page's lane in this epoch forbids; return how many pages that concerns.

    ``where``: a word for each page of the guest, twice the epoch of its last copy, plus 1 for its channel.
    ``compressing`` 0: pages that are free to choose go over main.
    """
    bound = 0
    for i in range(len(pages)):
        last = np.int64(where[pages[i]])
        if last == 2 * epoch + 1:  # also if a strategy has changed its mind: main could overtake the channel
            bound += 1
            allowed[i] = (allowed[i] & SKIP) | CHANNEL | ONLY_CHANNEL
        elif not allowed[i] & CHANNEL:
            continue
        elif last == 2 * epoch:
            bound += 1
            allowed[i] &= ~CHANNEL & 0xFF
        elif compressing:
            allowed[i] &= ~SPARSE & 0xFF
        else:
            allowed[i] &= ~CHANNEL & 0xFF
    return bound


@kernel
def measure_channel(
    pages: I64,
    masks: U32,
    allowed: U8,
    copied_at: U32,
    oldest: I64,
    subpage_bytes: int,
    far_bytes: int,
    near_permille: int,
    payloads: I32,
    near: U8,
) -> None:
    """Write what each page would probably take over its channel; ``near``: whether its last copy is in reach.

    ``oldest``: of each channel, how many of its pages are out of reach.
    A page in reach is never sent as a delta: the window is the better delta encoder.
    """
    channels = len(oldest)
    for i in range(len(pages)):
        near[i] = 0
        payloads[i, Payload.CHANNEL.value] = PAGE_BYTES
        if not allowed[i] & CHANNEL:
            continue
        last = np.int64(copied_at[pages[i]])
        if last <= oldest[channel_of(pages[i], channels)]:
            payloads[i, Payload.CHANNEL.value] = far_bytes
            continue
        near[i] = 1
        changed = PAGE_BYTES
        if subpage_bytes > 0 and masks[i] != ALL_CHANGED:
            changed = 0
            for bit in range(PAGE_BYTES // subpage_bytes):
                if masks[i] >> np.uint32(bit) & np.uint32(1):
                    changed += subpage_bytes
        payloads[i, Payload.CHANNEL.value] = min(
            PAGE_BYTES, NEAR_HEAD_BYTES + changed * near_permille // 1000
        )
        payloads[i, Payload.DELTA.value] = PAGE_BYTES


@kernel
def mark_lanes(pages: I64, methods: U8, where: U32, epoch: int, copied_at: U32, given: I64) -> int:
    """Note over which lane each page went; return how many went over a channel."""
    sent = 0
    for i in range(len(pages)):
        page = pages[i]
        if methods[i] == Method.CHANNEL:
            channel = channel_of(page, len(given))
            given[channel] += 1
            copied_at[page] = given[channel]
            where[page] = 2 * epoch + 1
            sent += 1
        elif methods[i] != Method.SKIP and methods[i] != Method.HOLD:
            where[page] = 2 * epoch
    return sent


class Lanes:
    """The lane of every page of a guest of ``total_pages`` pages: 8 bytes a page."""

    def __init__(self, settings: ChannelSettings, total_pages: int, subpage_bytes: int) -> None:
        self.epoch = 1
        self.bound_pages = 0
        """pages that were not free to choose since the last sync"""
        self.compressing = True
        """False: the link is faster than the compressor, and pages go over main"""
        self.quick = False
        """the link takes more pages than compressors with the whole window manage: frames are to be quick"""
        self.far_bytes = FAR_SHARE * PAGE_BYTES
        self.near_share = NEAR_SHARE
        self._mean_far_bytes = self.far_bytes
        self.near: U8 = np.zeros(0, np.uint8)
        """of the last batch measured, which pages had their last copy within the window"""
        self._subpage_bytes = subpage_bytes
        self._where: U32 = np.zeros(total_pages, np.uint32)
        self._copied_at: U32 = np.zeros(total_pages, np.uint32)
        self._given: I64 = np.zeros(settings.channels, np.int64)
        self._begun: I64 = np.zeros(settings.channels, np.int64)
        """how many pages each channel was given before its frame began"""
        self._window_pages = int(settings.window_bytes * WINDOW_SHARE) // PAGE_BYTES

    def restrict(self, pages: I64, allowed: U8) -> None:
        """Take from ``allowed`` what each page's lane forbids."""
        self.bound_pages += restrict_lanes(pages, self._where, self.epoch, int(self.compressing), allowed)

    def measure(self, pages: I64, masks: U32, allowed: U8, payloads: I32) -> None:
        """Write the channel's column of ``payloads``; see ``measure_channel``."""
        if len(pages) > len(self.near):
            self.near = np.zeros(len(pages), np.uint8)
        oldest = self._given if self.quick else np.maximum(self._begun, self._given - self._window_pages)
        measure_channel(
            pages, masks, allowed, self._copied_at, oldest, self._subpage_bytes,
            int(self.far_bytes), int(1000 * self.near_share), payloads, self.near,
        )  # fmt: skip

    def weigh(self, link_bps: float, long_pages_per_s: float) -> None:
        """Choose between quick frames and long ones.

        ``long_pages_per_s``: what compressors with the whole window manage, all together. Where a fast link
        takes a good part of that, new as they are, a window costs more time than it saves bytes.
        """
        wanted = link_bps / self._mean_far_bytes
        share, slack = (UNHURRIED_SHARE, SLACK) if self.quick else (HURRIED_SHARE, 1.0)
        self.quick = link_bps >= slack * FAST_BPS and wanted > share * long_pages_per_s

    def begin_frame(self, channel: int) -> None:
        """Say that what a channel is given from now on is in another frame."""
        self._begun[channel] = self._given[channel]

    def mark(self, pages: I64, methods: U8) -> int:
        """Note the lane of each page that is forwarded; return how many pages go over channels."""
        return mark_lanes(pages, methods, self._where, self.epoch, self._copied_at, self._given)

    def in_channel(self, pages: I64) -> bool:
        """Whether one of these pages went over its channel since the last sync."""
        return bool((self._where[pages] == 2 * self.epoch + 1).any())

    def next_epoch(self) -> None:
        """Begin another epoch: a sync is in the stream."""
        self.epoch += 1
        self.bound_pages = 0

    def learn(self, near_bytes: int, far_bytes: int, taken_bytes: int) -> None:
        """Compare a packet's estimate with the bytes it took; near and far pages share the error."""
        estimated = near_bytes + far_bytes
        if estimated <= 0:
            return
        off = NEWEST_SHARE * (taken_bytes / estimated - 1) / estimated
        self.far_bytes = _within(self.far_bytes * (1 + off * far_bytes), 16, PAGE_BYTES)
        self._mean_far_bytes += SLOW_SHARE * (self.far_bytes - self._mean_far_bytes)
        self.near_share = _within(self.near_share * (1 + off * near_bytes), 0.01, 4)


def _within(value: float, least: float, most: float) -> float:
    return min(most, max(least, value))
