"""A packet of pages compressed with zstd, as QEMU's own multifd sends them (migration/multifd-zstd.c).

The pages of one channel are a row of zstd frames: what one packet carries may refer to the pages of earlier
packets of the same frame, as far back as its window reaches. Packets of a channel may therefore not be
dropped or reordered. A frame is long, with the whole window and long-distance matching, or quick, with a
small window and twice the speed. It ends where a packet ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import zstandard

from pagethrift.kernels import copy_bytes, kernel, store64_be
from pagethrift.model.channels import QUICK_WINDOW_LOG, ChannelSettings
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, Block, Kind
from pagethrift.stream.packets import (
    HANDSHAKE_BYTES,
    HEADER_BYTES,
    MULTIFD_VERSION,
    NAME_AT,
    OFFSETS_AT,
    PACKET_PAGES,
    PacketFlag,
)
from pagethrift.stream.wire import MULTIFD_MAGIC, PAGE_SHIFT

PIN_SHIFT = 7
"""128 adjacent pages share a channel: a packet's worth, so that a run of pages makes one packet"""


class Estimate(IntEnum):
    """Estimated bytes of a packet's pages."""

    NEAR = 0
    """of those whose last copy is within the window"""
    FAR = 1
    """of the others"""
    AGAIN = 2
    """of those that were forwarded before, counted in NEAR or FAR as well"""


@kernel
def channel_of(page: int, channels: int) -> int:
    """Return the channel that a page is pinned to: what its older copies went over."""
    return (page >> PIN_SHIFT) % channels


@kernel
def gather_pages(
    buffer: U8,
    positions: I64,
    kinds: U8,
    pages: I64,
    methods: U8,
    sizes: I32,
    near: U8,
    again: U8,
    start: int,
    channel: int,
    channels: int,
    first_page: int,
    end_page: int,
    data: U8,
    head: U8,
    count: int,
    estimates: I64,
) -> tuple[int, int]:
    """Copy the records from ``start`` on that go over ``channel`` into a packet of one block.

    ``data`` receives pages, ``head`` their block offsets; ``count`` pages are in both. ``estimates``, by
    ``Estimate``, grows by the bytes in ``sizes``: ``near`` and ``again`` say which of them.
    Returns (index of the first record that did not fit or belongs to another block, pages in the packet).
    """
    for i in range(start, len(pages)):
        if methods[i] != Method.CHANNEL or channel_of(pages[i], channels) != channel:
            continue
        if count == PACKET_PAGES or not first_page <= pages[i] < end_page:
            return i, count
        at = count * PAGE_BYTES
        if kinds[i] == Kind.ZERO:
            data[at : at + PAGE_BYTES] = 0
        else:
            copy_bytes(data, at, buffer, positions[i], PAGE_BYTES)
        store64_be(head, OFFSETS_AT + 8 * count, np.uint64((pages[i] - first_page) << PAGE_SHIFT))
        count += 1
        estimates[Estimate.NEAR.value if near[i] else Estimate.FAR.value] += sizes[i]
        if again[i]:
            estimates[Estimate.AGAIN.value] += sizes[i]
    return len(pages), count


@dataclass(slots=True)
class Packet:
    """Up to PACKET_PAGES pages of one block on their way to a channel."""

    first_page: int = 0
    """of its block; with ``end_page`` 0 it has no block yet"""
    end_page: int = 0
    count: int = 0
    quick: bool = False
    """of a quick frame"""
    ends_frame: bool = False
    """the channel's next packet begins another frame"""
    estimates: I64 = field(default_factory=lambda: np.zeros(len(Estimate), np.int64))
    data: U8 = field(default_factory=lambda: np.empty(PACKET_PAGES * PAGE_BYTES, np.uint8))
    head: U8 = field(default_factory=lambda: np.zeros(HEADER_BYTES, np.uint8))

    @property
    def estimated_bytes(self) -> int:
        """Bytes that it will probably take on the link."""
        return HEADER_BYTES + self.estimate(Estimate.NEAR) + self.estimate(Estimate.FAR)

    def estimate(self, of: Estimate) -> int:
        """Return one of the estimates, in bytes."""
        return int(self.estimates[of])

    def clear(self) -> None:
        """Empty it."""
        self.first_page = self.end_page = self.count = 0
        self.quick = self.ends_frame = False
        self.estimates[:] = 0
        self.head[:] = 0

    def begin(self, block: Block) -> None:
        """Empty it for pages of a block."""
        self.clear()
        self.first_page, self.end_page = block.first_page, block.first_page + block.pages
        self.head[NAME_AT : NAME_AT + len(block.name)] = np.frombuffer(block.name, np.uint8)


class PacketEncoder:
    """The bytes of one channel. One thread at a time; compressing releases the GIL."""

    def __init__(self, number: int, settings: ChannelSettings) -> None:
        self.channel = number
        self._handshake = b"".join(
            (_numbers(MULTIFD_MAGIC, MULTIFD_VERSION), settings.uuid, bytes([number]))
        ).ljust(HANDSHAKE_BYTES, b"\0")
        self._settings = settings
        self._frame: zstandard.ZstdCompressionObj | None = None
        self._number = 0

    def handshake(self) -> bytes:
        """Return the channel's first bytes."""
        return self._handshake

    def sync(self) -> bytes:
        """Return a SYNC packet; it carries no pages."""
        return self._head(PacketFlag.SYNC, 0, 0).ljust(HEADER_BYTES, b"\0")

    def pages(self, packet: Packet) -> list[bytes]:
        """Return the bytes of a packet, in pieces."""
        raw = packet.data[: packet.count * PAGE_BYTES].data
        frame = self._frame or self._begin_frame(packet.quick)
        # an empty last block, if there is one, is read with the last page: libzstd asks for no room to do so
        flush = zstandard.COMPRESSOBJ_FLUSH_FINISH if packet.ends_frame else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        compressed = [frame.compress(raw), frame.flush(flush)]
        self._frame = None if packet.ends_frame else frame
        numbers = self._head(PacketFlag.ZSTD, packet.count, sum(map(len, compressed)))
        return [numbers + packet.head[len(numbers) :].tobytes(), *compressed]

    def _begin_frame(self, quick: bool) -> zstandard.ZstdCompressionObj:
        settings = self._settings
        parameters = zstandard.ZstdCompressionParameters.from_level(
            settings.level,
            window_log=min(settings.window_log, QUICK_WINDOW_LOG) if quick else settings.window_log,
            enable_ldm=settings.long_distance and not quick,
            write_checksum=0,
            write_content_size=0,
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def _head(self, flags: int, pages: int, data_bytes: int) -> bytes:
        self._number += 1
        return _numbers(
            MULTIFD_MAGIC, MULTIFD_VERSION, flags, PACKET_PAGES, pages, data_bytes, 0, self._number
        )


def _numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)
