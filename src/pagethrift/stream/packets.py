"""One multifd channel: bytes in, page batches and SYNCs out (QEMU migration/multifd.c).

A channel is a handshake of 64 bytes, then packets: a header of 1344 bytes and the pages it
announces. Pages stay where they were received; a page comes out as soon as it is whole, even if
its packet is not. ``offset`` of every error counts from the channel's own first byte, and the
error names the channel. Pages of a compressed packet come out of a buffer of the reader's own, when the
packet is whole. docs/stream.md describes the packet and what differs between versions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntFlag
from typing import TypeAlias

import numpy as np

from pagethrift.errors import StreamError
from pagethrift.kernels import Word, kernel, load64_be
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, Block, BlockTable, Kind, PageBatch
from pagethrift.stream.events import Pages, Signal
from pagethrift.stream.input import EventReader
from pagethrift.stream.reader import BATCH_PAGES
from pagethrift.stream.records import remember
from pagethrift.stream.unpack import BadPackedError, Unpacker, ZlibUnpacker, ZstdUnpacker
from pagethrift.stream.wire import FLAG_BITS, MULTIFD_MAGIC, PAGE_SHIFT

HANDSHAKE_BYTES = 64
HEADER_BYTES = 1344
PACKET_PAGES = 128
"""MULTIFD_PACKET_SIZE (512 KiB) over the page size, in every version so far"""
NAME_AT, NAME_BYTES, OFFSETS_AT = 64, 256, 320
MULTIFD_VERSION = 1
CHANNEL_BUFFER_BYTES = 2 * (HEADER_BYTES + PACKET_PAGES * PAGE_BYTES)
"""two packets: one receive may bring the rest of one and the beginning of the next"""
MAX_PACKED_BYTES = 2 * PACKET_PAGES * PAGE_BYTES
"""of a compressed packet: QEMU's own buffer for it has no more"""


class PacketFlag(IntFlag):
    """Bits of a packet's flags."""

    SYNC = 0x01
    ZLIB = 0x02
    ZSTD = 0x04
    QPL = 0x08
    UADK = 0x10
    QATZIP = 0x20
    DEVICE_STATE = 0x40


_PLAIN = "set multifd-compression to none, zlib or zstd at the source"
_REFUSED = {
    PacketFlag.DEVICE_STATE: (
        "a device state packet (switch x-migration-multifd-transfer off on the source's vfio devices)"
    ),
    PacketFlag.QPL: f"pages compressed with qpl ({_PLAIN})",
    PacketFlag.UADK: f"pages compressed with uadk ({_PLAIN})",
    PacketFlag.QATZIP: f"pages compressed with qatzip ({_PLAIN})",
}
_UNPACKERS: dict[int, Callable[[], Unpacker]] = {
    PacketFlag.ZLIB: ZlibUnpacker,
    PacketFlag.ZSTD: ZstdUnpacker,
}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The first 64 bytes of a channel."""

    number: int
    """0 .. channels - 1; not the order of connecting"""
    uuid: bytes
    """uuid of the guest, 16 bytes; zeros without -uuid"""


@dataclass(frozen=True, slots=True)
class Sync:
    """All pages before this SYNC have come out; later pages wait for the main channel's mark."""


ChannelEvent: TypeAlias = Handshake | Pages | Sync | Signal
_Steps: TypeAlias = Generator[ChannelEvent, None, None]


@kernel
def cut_offsets(
    buffer: U8, at: int, count: int, first_page: int, end_page: int, pages: I64, seen: I64
) -> tuple[int, bool]:
    """Turn ``count`` big-endian block offsets at ``buffer[at:]`` into page indices in ``pages``.

    ``seen`` is scratch space: a power of two, at least twice ``count``. Returns how many offsets were
    good, and whether the first bad one is a repeated page (True) or lies outside the block (False).
    """
    seen[:] = -1
    for i in range(count):
        word = load64_be(buffer, at + 8 * i)
        page: Word = first_page + np.int64(word >> np.uint64(PAGE_SHIFT))
        if word & np.uint64(FLAG_BITS) or page >= end_page:
            return i, False
        if not remember(seen, page):
            return i, True
        pages[i] = page
    return count, False


class ChannelReader(EventReader[ChannelEvent]):
    """Reads one channel; END comes only between two packets.

    ``table``, the RAM blocks, must be set after the first SYNC came out: no page comes before that SYNC.
    """

    def __init__(self, batch_pages: int = BATCH_PAGES, buffer_bytes: int = CHANNEL_BUFFER_BYTES) -> None:
        super().__init__(buffer_bytes)
        self.table = BlockTable.of([])
        self.name = "a multifd channel"
        self._batch_pages = min(batch_pages, PACKET_PAGES)
        self._pages: I64 = np.empty(PACKET_PAGES, np.int64)
        self._kinds: U8 = np.empty(PACKET_PAGES, np.uint8)
        self._positions: I64 = np.zeros(PACKET_PAGES, np.int64)
        self._lengths: I32 = np.empty(PACKET_PAGES, np.int32)
        self._steps: I64 = np.arange(PACKET_PAGES, dtype=np.int64) * PAGE_BYTES
        self._seen: I64 = np.empty(4 * PACKET_PAGES, np.int64)
        self._synced = False
        self._packing: int | None = None
        """the compression flag of every packet with normal pages; None before the first"""
        self._unpacker: Unpacker | None = None
        self._unpacked: U8 = np.empty(0, np.uint8)

    def _grammar(self) -> _Steps:
        source = self._in
        yield from self._need(HANDSHAKE_BYTES)
        self._check_magic("of a handshake")
        head = source.peek(HANDSHAKE_BYTES)
        self.name = f"multifd channel {head[24]}"
        source.consume_to(source.position + HANDSHAKE_BYTES)
        yield Handshake(head[24], head[8:24])
        while True:
            while source.position == source.end:
                if source.closed:
                    return
                yield Signal.NEED_DATA
            yield from self._packet()

    def _packet(self) -> _Steps:
        source = self._in
        yield from self._need(HEADER_BYTES)
        self._check_magic("of a packet")
        head = source.peek(64)
        flags, room, normal, data_bytes = (_be32(head, at) for at in (8, 12, 16, 20))
        zero = _be32(head, 32)
        for flag, name in _REFUSED.items():
            if flags & flag:
                raise self._bad(8, "plain pages", name)
        packing = flags & ~int(PacketFlag.SYNC)
        if packing and packing not in _UNPACKERS:
            raise self._bad(8, "flags of a RAM packet", f"{flags:#x}")
        if room > PACKET_PAGES:
            raise self._bad(12, f"a packet of at most {PACKET_PAGES} pages", str(room))
        if normal + zero > room:
            raise self._bad(16, f"at most the {room} pages announced", f"{normal} and {zero} zero ones")
        # QEMU before 9.0 leaves an earlier packet's length in a packet without pages.
        if normal:
            self._check_length(normal, packing, data_bytes)
        if normal + zero:
            self._cut(normal + zero)
        source.consume_to(source.position + HEADER_BYTES)
        if normal and packing:
            yield from self._unpack(normal, data_bytes)
            yield from self._hand_out_unpacked(normal, zero)
        else:
            yield from self._hand_out(normal, zero)
        if flags & PacketFlag.SYNC:
            self._synced = True
            yield Sync()

    def _check_length(self, normal: int, packing: int, data_bytes: int) -> None:
        if self._packing is None:
            self._packing = packing
        if packing != self._packing:
            raise self._bad(8, f"flags {self._packing:#x}, as of the pages before", f"{packing:#x}")
        if not packing and data_bytes != normal * PAGE_BYTES:
            raise self._bad(20, f"{normal * PAGE_BYTES} bytes for {normal} pages", str(data_bytes))
        if packing and not 0 < data_bytes <= MAX_PACKED_BYTES:
            raise self._bad(20, f"1 to {MAX_PACKED_BYTES} bytes of compressed pages", str(data_bytes))

    def _cut(self, count: int) -> None:
        """Write the page indices of a packet."""
        source = self._in
        if not self._synced:
            raise self._bad(16, "the SYNC of RAM's first section", f"{count} pages before it")
        block = self._block()
        good, twice = cut_offsets(
            source.buffer, source.position + OFFSETS_AT, count,
            block.first_page, block.first_page + block.pages, self._pages, self._seen,
        )  # fmt: skip
        if good < count:
            at = OFFSETS_AT + 8 * good
            offset = int.from_bytes(source.peek(at + 8)[at:], "big")
            expected = "each page once" if twice else "a page inside its RAM block"
            raise self._bad(at, f"{expected} in a packet", f"block offset {offset:#x}")

    def _block(self) -> Block:
        name, nul, _ = self._in.peek(OFFSETS_AT)[NAME_AT:].partition(b"\0")
        for block in self.table.blocks:
            if nul and block.name == name:
                return block
        raise self._bad(NAME_AT, "the name of a RAM block", repr(name[:64]))

    def _hand_out(self, normal: int, zero: int) -> _Steps:
        """Yield a packet's pages as they arrive; zero pages come after the others."""
        source = self._in
        self._describe(normal, zero)
        done = 0
        while done < normal + zero:
            if done < normal:
                yield from self._need(PAGE_BYTES)
            here = (source.end - source.position) // PAGE_BYTES
            count = min(here, normal - done) if done < normal else 0
            stop = done + count if done + count < normal else normal + zero
            stop = min(stop, done + self._batch_pages)
            count = min(count, stop - done)
            self._positions[done : done + count] = self._steps[:count] + source.position
            source.consume_to(source.position + count * PAGE_BYTES)
            yield Pages(
                PageBatch(self._pages, self._kinds, self._positions, self._lengths, source.buffer).part(
                    done, stop
                )
            )
            done = stop

    def _describe(self, normal: int, zero: int) -> None:
        """Write the kinds and lengths of a packet's pages, and the positions of its zero pages."""
        self._kinds[:normal] = Kind.PAGE
        self._kinds[normal : normal + zero] = Kind.ZERO
        self._positions[normal : normal + zero] = 0
        self._lengths[:normal] = PAGE_BYTES
        self._lengths[normal : normal + zero] = 0

    def _unpack(self, normal: int, packed_bytes: int) -> _Steps:
        """Unpack a packet's normal pages as they arrive."""
        source, begin = self._in, self._in.offset
        if self._unpacker is None:
            assert self._packing is not None
            self._unpacker = _UNPACKERS[self._packing]()
            self._unpacked = np.empty(PACKET_PAGES * PAGE_BYTES + 1, np.uint8)
        # Room for one byte too many, by which a packet that unpacks to more is noticed.
        expected_bytes, done = normal * PAGE_BYTES, 0
        into = self._unpacked.data[: expected_bytes + 1]
        name, left = PacketFlag(self._packing or 0).name, packed_bytes
        while left and done <= expected_bytes:
            yield from self._need(1)
            piece = min(left, source.end - source.position)
            packed = source.buffer.data[source.position : source.position + piece]
            try:
                done += self._unpacker.unpack(packed, into[done:])
            except BadPackedError as error:
                raise StreamError(begin, f"{name} data on {self.name}", str(error)) from None
            source.consume_to(source.position + piece)
            left -= piece
        if done != expected_bytes:
            got = "more" if done > expected_bytes else f"{done} bytes"
            raise StreamError(begin, f"{name} data of {normal} pages on {self.name}", got)

    def _hand_out_unpacked(self, normal: int, zero: int) -> _Steps:
        """Yield the pages of a packet that was unpacked."""
        self._describe(normal, zero)
        self._positions[:normal] = self._steps[:normal]
        whole = PageBatch(self._pages, self._kinds, self._positions, self._lengths, self._unpacked)
        for start in range(0, normal + zero, self._batch_pages):
            yield Pages(whole.part(start, min(start + self._batch_pages, normal + zero)))

    def _need(self, count: int) -> _Steps:
        source = self._in
        while source.end - source.position < count:
            if source.closed:
                raise self._bad(source.end - source.position, "the rest of a packet", "its end")
            yield Signal.NEED_DATA

    def _check_magic(self, what: str) -> None:
        for at, expected in ((0, MULTIFD_MAGIC), (4, MULTIFD_VERSION)):
            found = _be32(self._in.peek(8), at)
            if found != expected:
                name = "version" if at else "magic"
                raise self._bad(at, f"{name} {expected:#x} {what}", f"{found:#x}")

    def _bad(self, at: int, expected: str, got: str) -> StreamError:
        """Return the error for the byte that is ``at`` bytes after the next unread one."""
        return StreamError(self.offset + at, f"{expected} on {self.name}", got)


def _be32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
