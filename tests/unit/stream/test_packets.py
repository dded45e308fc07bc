"""One multifd channel, packet by packet: whole, byte by byte, in small batches; and every bad field."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from pagethrift.stream.events import Pages, Signal
from pagethrift.stream.packets import (
    HANDSHAKE_BYTES,
    HEADER_BYTES,
    PACKET_PAGES,
    ChannelReader,
    Handshake,
    PacketFlag,
    Sync,
    cut_offsets,
)
from pagethrift.stream.synthetic import handshake, packet
from tests.streams import examples
from tests.unit.stream.test_unpack import zlib_packer, zstd_frames, zstd_packer

PAGES = 300
TABLE = BlockTable.of([(b"pc.ram", PAGES * PAGE_BYTES), (b"pc.bios", 2 * PAGE_BYTES)])
SYNC = packet(flags=PacketFlag.SYNC)
HEAD = handshake(3) + SYNC
A, B = bytes(range(256)) * 16, b"\x5a" * PAGE_BYTES


def read(chunks: Iterable[bytes], batch_pages: int = 256, buffer_bytes: int = 1) -> list[object]:
    """Return Handshake, Sync, END and (page, content or "zero") in order."""
    reader = ChannelReader(batch_pages, buffer_bytes)
    reader.table = TABLE
    found: list[object] = []
    for chunk in [*chunks, b""]:
        for event in reader.feed(chunk):
            match event:
                case Pages(batch):
                    assert 0 < len(batch) <= min(batch_pages, PACKET_PAGES)
                    assert len(set(batch.page.tolist())) == len(batch)
                    for i in range(len(batch)):
                        at, length = int(batch.position[i]), int(batch.length[i])
                        data = batch.buffer[at : at + length].tobytes()
                        found.append((int(batch.page[i]), data if batch.kind[i] else "zero"))
                case Signal.END:
                    return [*found, "end"]
                case _:
                    found.append(event)
    return found


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def everywhere(data: bytes) -> list[object]:
    """Read in several chunkings; all must agree on everything."""
    seen = read([data])
    assert read(bytewise(data)) == seen
    assert read([data], batch_pages=1) == seen
    assert read([data], batch_pages=3, buffer_bytes=1 << 20) == seen
    return seen


def test_pages_of_a_packet() -> None:
    data = HEAD + packet("pc.ram", [(7, A), (0, B)], zero=[5, 299]) + packet("pc.bios", [(1, B)]) + SYNC
    assert everywhere(data) == [
        Handshake(3, bytes(16)), Sync(),
        (7, A), (0, B), (5, "zero"), (299, "zero"), (PAGES + 1, B), Sync(), "end",
    ]  # fmt: skip


def test_zero_pages_alone_and_nothing_at_all() -> None:
    data = HEAD + packet("pc.ram", zero=range(128)) + packet() + packet("pc.ram", [(1, A)])
    assert everywhere(data) == [
        Handshake(3, bytes(16)), Sync(), *((i, "zero") for i in range(128)), (1, A), "end",
    ]  # fmt: skip


def test_sync_may_ride_on_pages_and_an_empty_packet_may_follow() -> None:
    """QEMU 7.2 to 8.2; their empty packets keep an earlier length."""
    data = HEAD + packet("pc.ram", [(1, A)], flags=PacketFlag.SYNC) + packet(stale_bytes=4096) + SYNC
    assert everywhere(data) == [Handshake(3, bytes(16)), Sync(), (1, A), Sync(), Sync(), "end"]


def test_a_full_packet_comes_out_as_it_arrives() -> None:
    """Pages are given while the rest of their packet is still on its way."""
    rng = random.Random(1)
    pages = [(i, rng.randbytes(PAGE_BYTES)) for i in rng.sample(range(PAGES), PACKET_PAGES)]
    data = HEAD + packet("pc.ram", pages)
    assert everywhere(data) == [Handshake(3, bytes(16)), Sync(), *pages, "end"]
    reader = ChannelReader()
    reader.table = TABLE
    start = len(HEAD) + HEADER_BYTES + 2 * PAGE_BYTES + 1
    reader.room()[:start] = data[:start]
    reader.received(start)
    kinds = [type(reader.next_event()) for _ in range(3)]
    assert kinds == [Handshake, Sync, Pages]
    assert reader.next_event() is Signal.NEED_DATA


def test_the_handshake() -> None:
    uuid = bytes(range(16))
    assert everywhere(handshake(255, uuid)) == [Handshake(255, uuid), "end"]
    assert everywhere(HEAD[:HANDSHAKE_BYTES]) == [Handshake(3, bytes(16)), "end"]


def changed(data: bytes, at: int, value: int, size: int = 4) -> bytes:
    return data[:at] + value.to_bytes(size, "big") + data[at + size :]


ONE = packet("pc.ram", [(7, A)], zero=[9])
FLAGS = {
    PacketFlag.QPL: "qpl .set multifd-compression to none, zlib or zstd at the source",
    PacketFlag.UADK: "uadk .set multifd-compression",
    PacketFlag.QATZIP: "qatzip .set multifd-compression",
    PacketFlag.DEVICE_STATE: "device state packet .switch x-migration-multifd-transfer off",
}
BAD = {
    "magic": (changed(ONE, 0, 0x11223345), 0, "magic 0x11223344 of a packet on multifd channel 3, got 0x"),
    "version": (changed(ONE, 4, 2), 4, "version 0x1 of a packet on multifd channel 3, got 0x2"),
    **{flag.name or "": (changed(ONE, 8, flag), 8, text) for flag, text in FLAGS.items()},
    "two compressions": (changed(ONE, 8, 6), 8, "flags of a RAM packet on multifd channel 3, got 0x6"),
    "now compressed": (changed(ONE, 8, 4), 8, "flags 0x0, as of the pages before on multifd .* got 0x4"),
    "flags": (changed(ONE, 8, 0x80), 8, "flags of a RAM packet on multifd channel 3, got 0x80"),
    "room": (changed(ONE, 12, 129), 12, "at most 128 pages on multifd channel 3, got 129"),
    "normal": (changed(ONE, 16, 128), 16, "the 128 pages announced on multifd channel 3, got 128 and 1 zero"),
    "zero": (changed(ONE, 32, 2**32 - 1), 16, "the 128 pages announced .* got 1 and 4294967295 zero"),
    "length": (changed(ONE, 20, 4095), 20, "4096 bytes for 1 pages on multifd channel 3, got 4095"),
    "name": (changed(ONE, 64, 0x70632E72, 4)[:68] + b"om\0" + ONE[71:], 64, "RAM block .* b'pc.rom'"),
    "no name": (ONE[:64] + bytes(256) + ONE[320:], 64, "name of a RAM block on multifd channel 3, got b''"),
    "endless name": (ONE[:64] + b"x" * 256 + ONE[320:], 64, "name of a RAM block"),
    "offset": (changed(ONE, 320, 4097, 8), 320, "page inside its RAM block in a packet .* offset 0x1001"),
    "range": (changed(ONE, 328, PAGES * 4096, 8), 328, "page inside its RAM block in a packet .* 0x12c000"),
    "huge": (changed(ONE, 328, 2**64 - 4096, 8), 328, "page inside its RAM block .* 0xfffffffffffff000"),
    "twice": (changed(ONE, 328, 7 * 4096, 8), 328, "each page once in a packet .* offset 0x7000"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_packets_are_named(what: str) -> None:
    data, at, match = BAD[what]
    errors = []
    for chunks in ([HEAD + ONE + data], bytewise(HEAD + ONE + data), [HEAD + ONE + data + bytes(9000)]):
        with pytest.raises(StreamError, match=match) as caught:
            read(chunks)
        errors.append(str(caught.value))
        assert caught.value.offset == len(HEAD + ONE) + at
        assert "\n" not in errors[0]
    assert len(set(errors)) == 1


def packed(seed: int, flag: PacketFlag, count: int = 5) -> tuple[list[bytes], list[object]]:
    """Packets of a compressed channel, SYNCs among them, and what they hold."""
    rng = random.Random(seed)
    pack = PACKERS[flag][seed % len(PACKERS[flag])]()
    packets, expected = list[bytes](), list[object]()
    for _ in range(count):
        chosen = rng.sample(range(PAGES), rng.choice((0, 1, 3, PACKET_PAGES)))
        normal = [(page, rng.choice((A, B, rng.randbytes(PAGE_BYTES)))) for page in chosen[2:]]
        sync = rng.choice((0, int(PacketFlag.SYNC)))
        # 9.0 and later set the flag also without normal pages, older QEMUs do not
        flags = sync | (flag if normal or seed & 1 else 0)
        packets.append(packet("pc.ram", normal, chosen[:2], flags, 0 if normal else 99, pack))
        expected += [*normal, *((page, "zero") for page in chosen[:2]), *([Sync()] if sync else [])]
    return packets, expected


PACKERS = {PacketFlag.ZLIB: [zlib_packer], PacketFlag.ZSTD: [zstd_packer, zstd_frames]}


@pytest.mark.parametrize("flag", PACKERS)
@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 200_000))
def test_compressed_packets(flag: PacketFlag, seed: int, size: int) -> None:
    packets, expected = packed(seed, flag)
    data = HEAD + b"".join(packets)
    wanted = [Handshake(3, bytes(16)), Sync(), *expected, "end"]
    assert read([data]) == wanted
    assert read(data[i : i + size] for i in range(0, len(data), size)) == wanted
    assert read([data], batch_pages=3, buffer_bytes=1 << 20) == wanted


@pytest.mark.parametrize("flag", PACKERS)
def test_compressed_packets_byte_by_byte(flag: PacketFlag) -> None:
    pack = PACKERS[flag][0]()
    data = HEAD + packet("pc.ram", [(7, A), (8, B)], [5], flag, pack=pack)
    data += packet("pc.ram", [(7, B)], (), flag, pack=pack)
    assert everywhere(data)[2:] == [(7, A), (8, B), (5, "zero"), (7, B), "end"]


def zstd(data: bytes, flags: int = PacketFlag.ZSTD, pages: int = 1) -> bytes:
    """A packet whose compressed bytes are not what they should be."""
    return packet("pc.ram", [(i, A) for i in range(pages)], (), flags, pack=lambda _: data)


_PACK = zstd_frames()
_AT = HEADER_BYTES
BAD_PACKED = {
    "bomb": (zstd(_PACK(bytes(64 << 20))), _AT, "ZSTD data of 1 pages on multifd channel 3, got more"),
    "zlib bomb": (zstd(zlib_packer()(bytes(200_000)), 2), _AT, "ZLIB data of 1 pages .* got more"),
    "one byte more": (zstd(_PACK(A + b"x")), _AT, "ZSTD data of 1 pages .* got more"),
    "a byte less": (zstd(_PACK(A[1:])), _AT, "ZSTD data of 1 pages on multifd channel 3, got 4095 bytes"),
    "a page less": (zstd(_PACK(A), pages=2), _AT, "ZSTD data of 2 pages .* got 4096 bytes"),
    "half a frame": (zstd(_PACK(B)[:12]), _AT, "ZSTD data of 1 pages on .* got 0 bytes"),
    "no frame": (zstd(A), _AT, "ZSTD data on multifd channel 3, got zstd .* Unknown frame descriptor"),
    "no zlib": (zstd(A, 2), _AT, "ZLIB data on multifd channel 3, got Error -3 while decompressing"),
    "window": (zstd(zstd_packer(1, 28)(A)), _AT, "ZSTD data on .* Frame requires too much memory"),
    "empty": (changed(zstd(b""), 20, 0), 20, "1 to 1048576 bytes of compressed pages on .* got 0"),
    "long": (changed(zstd(b"x"), 20, (1 << 20) + 1), 20, "1 to 1048576 bytes of compressed .* 1048577"),
    "longest": (changed(zstd(b"x"), 20, 2**32 - 1), 20, "1 to 1048576 bytes .* got 4294967295"),
    "another one": (zstd(_PACK(A)) + zstd(zlib_packer()(A), 2), -1, "flags 0x4, as of .* got 0x2"),
    "none now": (zstd(_PACK(A)) + packet("pc.ram", [(1, A)]), -1, "flags 0x4, as of the pages .* 0x0"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_PACKED)
def test_bad_compressed_packets_are_named(what: str) -> None:
    data, at, match = BAD_PACKED[what]
    errors = set()
    at = at if at >= 0 else len(zstd(_PACK(A))) + 8
    for chunks in ([HEAD + data], bytewise(HEAD + data), [HEAD + data + bytes(9000)]):
        with pytest.raises(StreamError, match=match) as caught:
            read(chunks)
        errors.add(str(caught.value))
        assert caught.value.offset == len(HEAD) + at
    assert len(errors) == 1
    assert "\n" not in errors.pop()


wrongs = st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=4)


@pytest.mark.parametrize("flag", PACKERS)
@settings(max_examples=examples(100), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), wrong=wrongs)
def test_damaged_compressed_packets(flag: PacketFlag, seed: int, wrong: list[tuple[int, int]]) -> None:
    data = bytearray(HEAD + b"".join(packed(seed, flag, 2)[0]))
    for at, value in wrong:
        data[at % len(data)] ^= value
    try:
        read([bytes(data)])
    except StreamError as error:
        problem = error
    else:
        return
    assert 0 <= problem.offset <= len(data)
    assert "\n" not in str(problem)


def test_bad_handshakes() -> None:
    with pytest.raises(
        StreamError, match="magic 0x11223344 of a handshake on a multifd channel, got 0x5145564d"
    ):
        read([b"QEVM" + bytes(60)])
    with pytest.raises(StreamError, match="version 0x1 of a handshake") as caught:
        read([changed(handshake(0), 4, 7)])
    assert caught.value.offset == 4


def test_pages_before_the_first_sync() -> None:
    with pytest.raises(
        StreamError, match="the SYNC of RAM's first section on multifd channel 3, got 2 pages"
    ):
        read([handshake(3) + ONE])


@pytest.mark.parametrize("cut", [0, 1, 63, 65, len(HEAD) - 1, len(HEAD) + HEADER_BYTES, len(HEAD + ONE) - 1])
def test_an_end_inside_something_is_an_error(cut: int) -> None:
    with pytest.raises(
        StreamError, match=r"the rest of a packet on .*multifd channel.*, got its end"
    ) as caught:
        read([(HEAD + ONE)[:cut]])
    assert caught.value.offset == cut


def test_an_error_stays_an_error() -> None:
    reader = ChannelReader()
    reader.room()[:64] = bytes(64)
    reader.received(64)
    for _ in range(3):
        with pytest.raises(StreamError, match="magic"):
            reader.next_event()


def test_offset_counts_from_the_channels_first_byte() -> None:
    reader, data = ChannelReader(buffer_bytes=1), HEAD + ONE + SYNC
    reader.table = TABLE
    for i in range(len(data)):
        reader.room()[:1] = data[i : i + 1]
        reader.received(1)
        while reader.next_event() is not Signal.NEED_DATA:
            pass
    assert reader.offset == len(data)


@settings(max_examples=examples(300), deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, len(HEAD + ONE)))
def test_whatever_the_bytes_a_stream_error_or_events(data: bytes, at: int) -> None:
    stream = HEAD + ONE
    try:
        read([stream[:at] + data + stream[at + len(data) :]])
    except StreamError as error:
        problem = error
    else:
        return
    assert 0 <= problem.offset <= len(stream) + len(data)


@settings(max_examples=examples(300), deadline=None)
@given(offsets=st.lists(st.integers(0, 12).map(lambda i: i * 4096) | st.integers(0, 2**64 - 1), max_size=128))
def test_the_kernel_agrees_with_a_plain_loop(offsets: list[int]) -> None:
    buffer = np.frombuffer(bytearray(b"".join(o.to_bytes(8, "big") for o in offsets) + bytes(8)), np.uint8)
    pages, seen = np.full(128, -9, np.int64), np.empty(512, np.int64)
    expected: list[int] = []
    twice = False
    for offset in offsets:
        page = 5 + offset // 4096
        if offset % 4096 or page >= 15:
            break
        if page in expected:
            twice = True
            break
        expected.append(page)
    found = cut_offsets(buffer, 0, len(offsets), 5, 15, pages, seen)
    assert found == (len(expected), twice)
    assert pages[: len(expected)].tolist() == expected
