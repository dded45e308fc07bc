"""The return path: in whatever pieces it comes, the same is understood, and it is what QEMU's rules say."""

from __future__ import annotations

from collections.abc import Iterator

from pagethrift.stream.return_path import MAX_FRAME_BYTES, SHUT, SWITCHOVER_ACK, ReturnPath
from tests.fuzz.target import Bytes, Target, pieces


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    lengths = source.take(3)
    stream = source.rest()
    watch, whole = ReturnPath(), ReturnPath()
    for piece in pieces(stream, lengths):
        watch.feed(piece)
    whole.feed(stream)
    expected = _plainly(stream)
    assert (watch.shut, watch.seen, watch.understood) == expected
    assert (whole.shut, whole.seen, whole.understood) == expected


def _plainly(data: bytes) -> tuple[int | None, bool, bool]:
    """Return verdict, whether anything was said, whether all was understood."""
    shut, seen = None, False
    while len(data) >= 4:
        kind, length = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        if kind < 1 or kind > SWITCHOVER_ACK or length > MAX_FRAME_BYTES:
            return shut, seen, False
        if len(data) < 4 + length:
            break
        seen = True
        if kind == SHUT and length == 4:
            shut = int.from_bytes(data[4:8], "big")
        data = data[4 + length :]
    return shut, seen, True


def seeds() -> Iterator[bytes]:
    pong, shut = bytes.fromhex("0002000400000001"), bytes.fromhex("0001000400000000")
    pages = bytes.fromhex("0003000c") + bytes(12)
    name = bytes.fromhex("00040013") + bytes(12) + b"\x06pc.ram"
    for frames in (pong, shut, pong + shut, pages + name + shut, pong + b"\0\x09\0\0" + shut, shut[:-1]):
        yield b"\xff\xff\xff" + frames
        yield b"\1\2\3" + frames


TARGET = Target(fuzz_one, seeds, most_bytes=1500)
