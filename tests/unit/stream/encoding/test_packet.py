"""The bytes of a channel, read back by a decoder of the tests' own."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
import zstandard

from pagethrift.model.channels import QUICK_WINDOW_LOG, ChannelSettings
from pagethrift.model.pages import PAGE_BYTES, Block
from pagethrift.stream.encoding.packet import Packet, PacketEncoder, channel_of
from pagethrift.stream.packets import HEADER_BYTES, OFFSETS_AT, PACKET_PAGES
from tests.zstd_pages import PageDecoder

UUID = bytes(range(16))
HEAD = struct.Struct(">IIIIIIQI28x256s128Q")
BLOCK = Block(b"pc.ram", 1 << 30, 1000)


def filled(pages: list[tuple[int, bytes]]) -> Packet:
    """A packet of (page within the block, content)."""
    packet = Packet()
    packet.begin(BLOCK)
    for i, (page, data) in enumerate(pages):
        packet.data[i * PAGE_BYTES : (i + 1) * PAGE_BYTES] = np.frombuffer(data, np.uint8)
        packet.head[OFFSETS_AT + 8 * i :][:8] = np.frombuffer((page * 4096).to_bytes(8, "big"), np.uint8)
    packet.count = len(pages)
    return packet


def encoder(number: int = 0, **changes: Any) -> PacketEncoder:
    return PacketEncoder(number, ChannelSettings(uuid=UUID, **changes))


def random_pages(rng: random.Random, count: int = PACKET_PAGES) -> list[tuple[int, bytes]]:
    return [(rng.randrange(1 << 18), rng.randbytes(PAGE_BYTES)) for _ in range(count)]


def test_the_handshake_names_the_guest_and_the_channel() -> None:
    found = encoder(3).handshake()
    assert found == struct.pack(">II16sB39x", 0x11223344, 1, UUID, 3)


def test_a_sync_is_a_packet_of_its_own_without_data() -> None:
    assert HEAD.size == HEADER_BYTES
    found = HEAD.unpack(encoder().sync())
    assert found[:8] == (0x11223344, 1, 1, 128, 0, 0, 1, 0)
    assert not any(found[8])
    assert not any(found[9:])


def test_the_fields_of_a_packet_and_packets_are_numbered() -> None:
    one = encoder()
    one.sync()
    head, *rest = one.pages(filled([(5, bytes(PAGE_BYTES)), (9, b"\x01" * PAGE_BYTES)]))
    found = HEAD.unpack(head)
    assert found[:8] == (0x11223344, 1, 4, 128, 2, sum(map(len, rest)), 2, 0)
    assert found[8].rstrip(b"\0") == b"pc.ram"
    assert found[9:] == (5 * 4096, 9 * 4096, *[0] * 126)


@pytest.mark.parametrize(
    "settings", [{}, {"level": -5}, {"level": 19, "window_log": 20}, {"long_distance": False}]
)
def test_a_channel_is_one_zstd_stream_and_pages_end_with_packets(
    settings: dict[str, Any],
) -> None:
    rng, one = random.Random(1), encoder(**settings)
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    old = random_pages(rng, 64)
    for count in (1, 128, 3, 128, 40):
        pages = [*old[: count // 2], *random_pages(rng, count - count // 2)]
        head, *rest = one.pages(filled(pages))
        if count == 3:
            one.sync()
        assert HEAD.unpack(head)[4] == count
        assert decoder.decompress(b"".join(rest)) == b"".join(data for _, data in pages)
        assert not decoder.eof


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 96, 127, 128])
@pytest.mark.parametrize("compressible", [True, False])
def test_a_frame_ends_with_the_last_page_of_a_packet_and_another_kind_follows(
    count: int, compressible: bool
) -> None:
    """QEMU drops what a packet has beyond its last page: what is not read by then is lost."""
    rng, one, decoder = random.Random(count), encoder(), PageDecoder()
    for i in range(12):
        packet = filled(
            [(p, (data[:512] * 8) if compressible else data) for p, data in random_pages(rng, count)]
        )
        packet.quick, packet.ends_frame = i % 4 > 1, i % 2 == 1
        raw = packet.data[: count * PAGE_BYTES].tobytes()
        assert decoder.pages(b"".join(one.pages(packet)[1:]), count) == raw


def test_a_quick_frame_has_a_small_window_and_nothing_before_it_is_found_again() -> None:
    rng, one = random.Random(7), encoder()
    pages = random_pages(rng, 64)
    last = filled(pages)
    last.ends_frame = True
    one.pages(last)
    quick = filled(pages)
    quick.quick = quick.ends_frame = True
    data = b"".join(one.pages(quick)[1:])
    assert len(data) > 64 * PAGE_BYTES
    assert zstandard.get_frame_parameters(data).window_size == 1 << QUICK_WINDOW_LOG
    data = b"".join(one.pages(filled(pages))[1:])
    assert len(data) > 64 * PAGE_BYTES
    assert zstandard.get_frame_parameters(data).window_size == 1 << 27
    assert len(b"".join(one.pages(filled(pages))[1:])) < 8_000


def test_pages_that_cannot_be_compressed_stay_below_what_qemu_takes() -> None:
    rng, one = random.Random(2), encoder()
    for _ in range(4):
        _, *rest = one.pages(filled(random_pages(rng)))
        assert 512 << 10 < sum(map(len, rest)) < (512 << 10) + 2048


@pytest.mark.parametrize(
    ("window_log", "packets_between", "found_again"), [(20, 1, True), (20, 4, False), (23, 4, True)]
)
def test_the_window_decides_how_far_back_a_page_is_found_again(
    window_log: int, packets_between: int, found_again: bool
) -> None:
    """128 random pages again, so many packets of 512 KiB later."""
    rng, one = random.Random(3), encoder(window_log=window_log)
    pages = random_pages(rng, 64)
    one.pages(filled(pages))
    for _ in range(packets_between):
        one.pages(filled(random_pages(rng)))
    again = sum(map(len, one.pages(filled(pages))[1:]))
    assert (again < 8_000) is found_again


def test_the_window_is_in_the_streams_head_and_a_smaller_decoder_refuses() -> None:
    _, *rest = encoder(window_log=27).pages(filled(random_pages(random.Random(4))))
    data = b"".join(rest)
    assert zstandard.get_frame_parameters(data).window_size == 1 << 27
    assert zstandard.get_frame_parameters(data).has_checksum is False
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor(max_window_size=1 << 26).decompressobj().decompress(data)


@pytest.mark.parametrize("channels", [1, 2, 3, 16])
def test_the_channel_of_a_page_never_changes_within_a_run_of_128(channels: int) -> None:
    for page in (0, 127, 128, 5000, (1 << 40) + 1):
        assert channel_of(page, channels) == page // 128 % channels


def test_an_empty_packet_begins_with_a_clean_head() -> None:
    packet = filled([(5, b"\x01" * PAGE_BYTES)])
    packet.estimates[:] = 9
    packet.begin(Block(b"rom", 4096, 7))
    assert (packet.first_page, packet.end_page, packet.count) == (7, 8, 0)
    assert bytes(packet.head) == bytes(64) + b"rom" + bytes(HEADER_BYTES - 67)
    assert packet.estimated_bytes == HEADER_BYTES
    packet.clear()
    assert packet.end_page == 0
    assert not packet.head.any()
