"""The estimate of what a page takes on a channel, against a slow twin, and case by case."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from pagethrift.model.methods import Method
from pagethrift.simulator.channel_kernels import (
    NEAR_HEAD_BYTES,
    SAME_BYTES,
    Open,
    compress_pages,
    compressed_bytes,
    keep_places,
)
from pagethrift.stream.packets import HEADER_BYTES, PACKET_PAGES

WINDOW = 300
PAGES = 1024


@pytest.mark.parametrize(
    ("content", "sparse", "in_window", "mask", "delta", "expected"),
    [
        (0, 4096, False, 0xFFFF, 4096, SAME_BYTES),
        (5, 4096, False, 0xFFFF, 4096, 2048),
        (5, 100, False, 0xFFFF, 4096, 50),
        (5, 65535, False, 0, 0, 2048),
        (5, 8, False, 0, 0, SAME_BYTES),
        (5, 4096, True, 0b11, 200, NEAR_HEAD_BYTES + 150),
        (5, 4096, True, 0b11, 1000, NEAR_HEAD_BYTES + 256),
        (5, 4096, True, 0xFFFF, 4096, 2048),
        (5, 4096, True, 0, 0, NEAR_HEAD_BYTES),
    ],
)
def test_a_page(content: int, sparse: int, in_window: bool, mask: int, delta: int, expected: int) -> None:
    assert compressed_bytes(content, sparse, in_window, mask, delta, 0.5, 0.75) == expected


class Sent(NamedTuple):
    """What is known of a page that goes over a channel."""

    content: int
    sparse: int
    mask: int
    delta: int
    share: float


class Twin:
    """The same with dictionaries."""

    def __init__(self, channels: int) -> None:
        self.given = [0] * channels
        self.content_at: dict[tuple[int, int], int] = {}
        self.page_at: dict[int, int] = {}
        self.changes: dict[int, tuple[int, int]] = {}
        self.open = [0] * channels

    def taken(self, page: int, sent: Sent) -> int:
        before_mask, before_delta = self.changes.get(page, (0, 0))
        mask, delta = sent.mask | before_mask, sent.delta + before_delta
        content = sent.content
        channel = (page >> 7) % len(self.given)
        now = self.given[channel]
        taken = SAME_BYTES
        if now - self.content_at.get((content, channel), -WINDOW) >= WINDOW:
            near = page in self.page_at and now - self.page_at[page] < WINDOW
            taken = compressed_bytes(content, sent.sparse, near, mask, delta, sent.share, 0.75)
        self.given[channel] = self.page_at[page] = self.content_at[content, channel] = now + 1
        self.changes[page] = (0, 0)
        if self.open[channel] == 0:
            taken += HEADER_BYTES
        self.open[channel] = (self.open[channel] + 1) % PACKET_PAGES
        return taken

    def on_main(self, page: int, mask: int, delta: int) -> None:
        before_mask, before_delta = self.changes.get(page, (0, 0))
        self.changes[page] = (mask | before_mask, delta + before_delta)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_batches_are_the_twins(channels: int) -> None:
    rng = np.random.default_rng(channels)
    twin = Twin(channels)
    shares = rng.uniform(0.2, 1.0, PAGES)
    given, copied_at = np.zeros(channels, np.int64), np.zeros(PAGES, np.int64)
    since_mask, since_delta = np.zeros(PAGES, np.uint32), np.zeros(PAGES, np.int32)
    keys, places = np.zeros(1 << 12, np.uint64), np.zeros(1 << 12, np.int64)
    packets = np.zeros((channels, len(Open)), np.int64)
    packets[:, Open.CHANNEL] = range(channels)
    sent = packet_bytes = 0
    ways = [Method.CHANNEL] * 6 + [Method.SKIP, Method.HOLD, Method.DELTA, Method.ZERO]
    used = 0
    for _ in range(12):
        pages = np.sort(rng.permutation(PAGES)[:200]).astype(np.int64)
        contents = rng.integers(0, 150, 200)
        sparses = rng.integers(0, 4097, 200).astype(np.uint16)
        masks = rng.integers(0, 1 << 16, 200).astype(np.uint32)
        deltas = rng.integers(0, 5000, 200).astype(np.int32)
        methods = rng.choice(ways, 200).astype(np.uint8)
        estimates = rng.integers(0, 4096, 200).astype(np.int32)
        sizes = estimates.copy()
        closed = np.zeros((8, len(Open)), np.int64)
        full, added = compress_pages(
            pages, contents, sparses, masks, deltas, methods, np.zeros(200, np.uint8), shares, 0.75, WINDOW,
            given, copied_at, since_mask, since_delta, keys, places, sizes, packets, closed,
            PACKET_PAGES, HEADER_BYTES,
        )  # fmt: skip
        used += added
        rows: Any = zip(pages, contents, sparses, masks, deltas, methods, estimates, strict=True)
        for i, (page, content, sparse, mask, delta, method, estimate) in enumerate(rows):
            if method == Method.CHANNEL:
                facts = Sent(int(content), int(sparse), int(mask), int(delta), shares[page])
                assert sizes[i] == twin.taken(int(page), facts)
                sent += int(sizes[i])
            else:
                assert sizes[i] == estimate
                if method not in (Method.SKIP, Method.HOLD):
                    twin.on_main(int(page), int(mask), int(delta))
        assert (closed[:full, Open.PAGES] == PACKET_PAGES).all()
        packet_bytes += int(closed[:full, Open.TAKEN].sum())
        assert given.tolist() == twin.given
    assert packets[:, Open.CHANNEL].tolist() == list(range(channels))
    assert sent == packet_bytes + int(packets[:, Open.TAKEN].sum())
    assert used == len(twin.content_at) == np.count_nonzero(keys)


def test_what_the_window_has_left_is_forgotten() -> None:
    keys, places = np.zeros(8, np.uint64), np.zeros(8, np.int64)
    keys[[1, 2, 5]] = [0x101, 0x203, 0x505]
    places[[1, 2, 5]] = [100 << 4, 401 << 4, 90 << 4 | 1]
    fresh, fresh_places = np.zeros(16, np.uint64), np.zeros(16, np.int64)
    given = np.array([500, 200], np.int64)
    assert keep_places(keys, places, given, WINDOW, fresh, fresh_places) == 2
    found = dict(zip(fresh[fresh != 0].tolist(), fresh_places[fresh != 0].tolist(), strict=True))
    assert found == {0x203: 401 << 4, 0x505: 90 << 4 | 1}
