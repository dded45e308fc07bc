"""How connections begin: judged at every length, and chosen among those who imitate."""

from __future__ import annotations

import pytest

from pagethrift.stream.opening import (
    FirstMark,
    Opening,
    choose_channels,
    handshake_of,
    judge,
    uuid_of,
)
from pagethrift.stream.packets import PACKET_PAGES, Handshake, PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet

STREAM = StreamBuilder().finish()
SYNC = packet(flags=PacketFlag.SYNC)
UUID = bytes(range(16))


def verdicts(data: bytes) -> list[Opening]:
    """Return the different verdicts as bytes come one by one."""
    found: list[Opening] = []
    for count in range(len(data) + 1):
        if not found or found[-1] is not judge(data[:count]):
            found.append(judge(data[:count]))
    return found


def configured(name: bytes, rest: bytes = b"") -> bytes:
    return STREAM[:8] + b"\x07" + len(name).to_bytes(4, "big") + name + rest


def test_main_is_known_by_header_and_machine() -> None:
    assert verdicts(STREAM) == [Opening.UNSURE, Opening.MAIN]
    assert judge(STREAM[:16]) is Opening.UNSURE
    assert judge(STREAM[:17]) is Opening.MAIN
    assert verdicts(configured(b"pc")) == [Opening.UNSURE, Opening.MAIN]
    for section in (b"\x01", b"\x04", b"\x08"):
        assert verdicts(STREAM[:8] + section) == [Opening.UNSURE, Opening.MAIN]


def test_a_channel_is_known_by_handshake_and_first_packet() -> None:
    assert verdicts(handshake(3) + SYNC) == [Opening.UNSURE, Opening.GREETED, Opening.CHANNEL]
    assert handshake_of(handshake(3, UUID)) == Handshake(3, UUID)


@pytest.mark.parametrize(
    "data",
    [
        b"QEVM\0\0\0\2",
        b"QEVN",
        STREAM[:8] + b"\x02",
        STREAM[:8] + b"\x07\xff\xff\xff\xff",
        configured(b""),
        configured(b"pc\n\x00\x01"),
        b"\x11\x22\x33\x44\0\0\0\2",
        handshake(0) + b"\x11\x22\x33\x45",
        handshake(0) + packet(),
        handshake(0) + packet("pc.ram", zero=[1], flags=PacketFlag.SYNC),
        handshake(0) + packet(flags=PacketFlag.SYNC | 0x100),
        b"GET / HTTP",
        bytes(8),
    ],
)
def test_everybody_else_is_a_stranger_as_soon_as_a_byte_differs(data: bytes) -> None:
    assert verdicts(data)[-1] is Opening.STRANGER
    assert Opening.MAIN not in verdicts(data)
    assert Opening.CHANNEL not in verdicts(data)


def test_tls_is_named() -> None:
    assert verdicts(b"\x16\x03\x01\x02\x00") == [Opening.UNSURE, Opening.TLS]
    assert judge(b"\x16\x04") is Opening.STRANGER


def test_the_uuid_of_main() -> None:
    subsection = b"\x05\x12configuration/uuid\0\0\0\1" + UUID
    assert uuid_of(configured(b"pc-i440fx-10.0", subsection)) == UUID
    assert uuid_of(configured(b"pc-i440fx-10.0", subsection[:-1])) is None
    assert uuid_of(STREAM) is None


def test_channels_are_one_guests_numbered_from_0_each_once() -> None:
    mine = [Handshake(number, UUID) for number in (2, 0, 1)]
    other = Handshake(0, bytes(16))
    again, far = Handshake(1, UUID), Handshake(200, UUID)
    chosen = choose_channels([other, *mine, again, far], lambda each: each)
    assert chosen == [mine[1], mine[2], mine[0]]
    assert chosen[1] is mine[2]
    assert choose_channels([far, other], lambda each: each, UUID) == []
    assert choose_channels([other, *mine], lambda each: each, bytes(16)) == [other]


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_first_mark_is_found_in_the_piece_that_holds_it(flush: bool, size: int) -> None:
    builder = StreamBuilder(flush=flush)
    head, stream = bytes(builder.parts[0]), builder.finish()
    mark, at = FirstMark(), 0
    while not mark.feed(memoryview(stream)[at : at + size]):
        at += size
    assert at < len(head) + 8 <= at + size
    assert mark.feed(memoryview(b"anything"))


@pytest.mark.parametrize("data", [b"QEVM\0\0\0\3\x55" + bytes(20), b"", handshake(0)])
def test_what_breaks_the_format_or_ends_is_a_mark_too(data: bytes) -> None:
    assert FirstMark().feed(memoryview(data))


def test_a_packet_has_a_known_size() -> None:
    assert len(SYNC) == 320 + 8 * PACKET_PAGES
