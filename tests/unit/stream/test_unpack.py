"""Decompressors of a channel: one stream through all packets, in any pieces, never more than asked for."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from pagethrift.stream.unpack import MAX_WINDOW_BYTES, BadPackedError, Unpacker, ZlibUnpacker, ZstdUnpacker

Pack = Callable[[bytes], bytes]


def zlib_packer() -> Pack:
    stream = zlib.compressobj(1)
    return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)


def zstd_packer(level: int = 1, window_log: int = 0) -> Pack:
    settings = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log)
    stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return lambda data: stream.compress(data) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def zstd_frames() -> Pack:
    """A frame for each packet, with its size and a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress


BOTH = [(ZlibUnpacker, zlib_packer), (ZstdUnpacker, zstd_packer), (ZstdUnpacker, zstd_frames)]


def contents(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    words = [rng.randbytes(60) for _ in range(9)]
    return [
        b"".join(rng.choice((rng.randbytes(40), words[rng.randrange(9)])) for _ in range(rng.randint(1, 900)))
        for _ in range(count)
    ]


@pytest.mark.parametrize(("unpacker", "packer"), BOTH)
@pytest.mark.parametrize("piece_bytes", [1, 700, 1 << 20])
def test_one_stream_through_all_packets(
    unpacker: type[Unpacker], packer: Callable[[], Pack], piece_bytes: int
) -> None:
    stream, pack = unpacker(), packer()
    for data in contents(piece_bytes, 12):
        packed, into, done = pack(data), bytearray(len(data) + 1), 0
        for at in range(0, len(packed), piece_bytes):
            piece = memoryview(packed)[at : at + piece_bytes]
            done += stream.unpack(piece, memoryview(into)[done:])
        assert done == len(data)
        assert into[:done] == data


def test_several_frames_and_one_that_can_be_skipped_in_a_packet() -> None:
    pack, into = zstd_frames(), bytearray(4097)
    skipped = bytes.fromhex("502a4d18") + (3).to_bytes(4, "little") + b"abc"
    packed = pack(b"x" * 4000) + skipped + pack(b"y" * 96)
    assert ZstdUnpacker().unpack(memoryview(packed), memoryview(into)) == 4096
    assert into[:4096] == b"x" * 4000 + b"y" * 96


@pytest.mark.parametrize(("unpacker", "packer"), BOTH)
def test_a_bomb_fills_the_room_it_is_given_and_no_more(
    unpacker: type[Unpacker], packer: Callable[[], Pack]
) -> None:
    packed = packer()(bytes(64 << 20))
    assert len(packed) < 400_000
    stream, into = unpacker(), memoryview(bytearray(4097))
    tracemalloc.start()
    try:
        assert stream.unpack(memoryview(packed), into) == 4097
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_window_as_large_as_qemus_and_none_larger() -> None:
    data = b"z" * 5000
    into = memoryview(bytearray(5001))
    largest = MAX_WINDOW_BYTES.bit_length() - 1
    assert ZstdUnpacker().unpack(memoryview(zstd_packer(1, largest)(data)), into) == 5000
    with pytest.raises(BadPackedError, match="requires too much memory"):
        ZstdUnpacker().unpack(memoryview(zstd_packer(1, largest + 1)(data)), into)


def test_what_cannot_be_unpacked() -> None:
    into = memoryview(bytearray(9000))
    dictionary = zstandard.train_dictionary(1000, [b"%d some page" % i * 9 for i in range(300)])
    dependent = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"some page" * 20)
    with pytest.raises(BadPackedError, match="Dictionary mismatch"):
        ZstdUnpacker().unpack(memoryview(dependent), into)
    with pytest.raises(BadPackedError, match="Unknown frame"):
        ZstdUnpacker().unpack(memoryview(bytes(40)), into)
    with pytest.raises(BadPackedError, match="checksum"):
        ZstdUnpacker().unpack(memoryview(zstd_frames()(b"abc" * 99)[:-1] + b"\0"), into)
    with pytest.raises(BadPackedError, match="Error -3 while decompressing data"):
        ZlibUnpacker().unpack(memoryview(b"\x12\x34\x56\x78" * 9), into)
    with_dictionary = zlib.compressobj(zdict=b"some page")
    packed = with_dictionary.compress(b"some page" * 20) + with_dictionary.flush()
    with pytest.raises(BadPackedError, match="Error 2 while decompressing data"):
        ZlibUnpacker().unpack(memoryview(packed), into)


def test_nothing_comes_after_the_end_of_a_zlib_stream() -> None:
    stream, into = ZlibUnpacker(), memoryview(bytearray(9000))
    assert stream.unpack(memoryview(zlib.compress(b"x" * 4096)), into) == 4096
    assert stream.unpack(memoryview(zlib.compress(b"x" * 4096)), into) == 0
