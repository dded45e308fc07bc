"""What a page takes on a compressed channel, estimated from content ids and the sizes that a trace has."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from pagethrift.kernels import Word, kernel
from pagethrift.model.methods import Method
from pagethrift.model.pages import F64, I32, I64, PAGE_BYTES, U8, U16, U32, U64
from pagethrift.stream.encoding.packet import channel_of

SAME_BYTES = 12
"""a page that lies in the window as it is: one match and its heads; a page of zeros takes no more"""
NEAR_HEAD_BYTES = 16
"""of a page whose copy is in the window, besides its changed parts"""
SUBPAGE_BYTES = 256
"""what a bit of a trace's masks stands for (docs/trace-format.md)"""
MOST_DELTA_BYTES = 1 << 20
CHANNEL_BITS = 4
"""of a place in ``places``; CHANNELS_MAX is 16"""


class Open(IntEnum):
    """Columns of the packets that are not full: a row for each channel."""

    PAGES = 0
    NEAR = 1
    """bytes that the lanes estimated for pages within the window"""
    FAR = 2
    """the same for other pages"""
    TAKEN = 3
    """bytes, header included"""
    CHANNEL = 4


@kernel
def _slot(keys: U64, content: int, channel: int) -> tuple[Any, Word]:
    """Return where a content's place on a channel is in the hash table, or may be put, and its key."""
    word: Word = np.uint64(content) * np.uint64(0x9E3779B97F4A7C15)
    word ^= word >> np.uint64(29)
    word = (word + np.uint64(channel)) * np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(32)
    key: Word = word | np.uint64(1)
    mask = np.int64(len(keys) - 1)
    slot = np.int64(word >> np.uint64(8)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot, key


@kernel
def keep_places(keys: U64, places: I64, given: I64, window_pages: int, fresh: U64, fresh_places: I64) -> int:
    """Copy a hash table's entries that are still within the window to a larger one; return how many."""
    kept = 0
    mask = np.int64(len(fresh) - 1)
    for i in range(len(keys)):
        channel = places[i] & ((1 << CHANNEL_BITS) - 1)
        if keys[i] == 0 or given[channel] - (places[i] >> CHANNEL_BITS) >= window_pages:
            continue
        slot = np.int64(keys[i] >> np.uint64(8)) & mask
        while fresh[slot] != 0:
            slot = (slot + 1) & mask
        fresh[slot] = keys[i]
        fresh_places[slot] = places[i]
        kept += 1
    return kept


@kernel
def compressed_bytes(
    content: int, sparse: int, in_window: bool, mask: int, delta: int, share: float, near_share: float
) -> int:
    """Return what a page takes whose content is not in the window as it is.

    ``in_window``: an older copy is; ``mask`` and ``delta`` tell its changes since. ``share``: of the page's
    sparse bytes, or of changed subpages; ``near_share``: of the delta.
    """
    if content == 0:
        return SAME_BYTES
    whole = max(SAME_BYTES, int(share * min(sparse, PAGE_BYTES)))
    if not in_window:
        return whole
    changed = 0
    for bit in range(PAGE_BYTES // SUBPAGE_BYTES):
        if mask >> bit & 1:
            changed += SUBPAGE_BYTES
    news = min(near_share * delta, share * changed)
    return min(whole, NEAR_HEAD_BYTES + int(news))


@kernel
def compress_pages(
    pages: I64, contents: I64, sparses: U16, masks: U32, deltas: I32, methods: U8, near: U8,
    shares: F64, near_share: float, window_pages: int, given: I64, copied_at: I64, since_mask: U32,
    since_delta: I32, keys: U64, places: I64, sizes: I32, packets: I64, closed: I64,
    packet_pages: int, header_bytes: int,
) -> tuple[int, int]:  # fmt: skip
    """Replace the estimates in ``sizes`` of pages with method CHANNEL, and gather these in packets.

    ``shares``: for each page, of sparse bytes. ``copied_at``: for each page, the place of its last copy among
    its channel's pages, from 1. ``since_mask``, ``since_delta``: its changes at the destination since.
    ``keys``, ``places``: the hash table of contents.
    ``header_bytes`` of a packet are counted with its first page, ``packet_pages`` make it full. Full packets
    are moved to ``closed``.
    Returns (rows in ``closed``, new entries in the hash table).
    """
    full = 0
    added = 0
    for i in range(len(pages)):
        method = methods[i]
        if method == Method.SKIP or method == Method.HOLD:
            continue
        page = pages[i]
        since_mask[page] |= masks[i]
        since_delta[page] = min(since_delta[page] + deltas[i], MOST_DELTA_BYTES)
        if method != Method.CHANNEL:
            continue
        channel = channel_of(page, len(given))
        slot, key = _slot(keys, contents[i], channel)
        taken = SAME_BYTES
        if keys[slot] == 0 or given[channel] - (places[slot] >> CHANNEL_BITS) >= window_pages:
            taken = compressed_bytes(
                contents[i], int(sparses[i]),
                copied_at[page] > 0 and given[channel] - copied_at[page] < window_pages,
                int(since_mask[page]), int(since_delta[page]), shares[page], near_share,
            )  # fmt: skip
        if keys[slot] == 0:
            keys[slot] = key
            added += 1
        given[channel] += 1
        copied_at[page] = given[channel]
        places[slot] = given[channel] << CHANNEL_BITS | channel
        since_mask[page] = 0
        since_delta[page] = 0
        packet = packets[channel]
        if packet[Open.PAGES.value] == 0:
            taken += header_bytes
        packet[Open.PAGES.value] += 1
        packet[Open.NEAR.value if near[i] else Open.FAR.value] += sizes[i]
        packet[Open.TAKEN.value] += taken
        sizes[i] = taken
        if packet[Open.PAGES.value] == packet_pages:
            closed[full] = packet
            packet[: Open.CHANNEL.value] = 0
            full += 1
    return full, added
