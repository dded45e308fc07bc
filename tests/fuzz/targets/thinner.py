"""The thinner: image(thin(s)) == image(s) for every stream that is valid, StreamError for every other.

An input is a program that writes a stream and puts some bytes of it wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from unittest import mock

import numpy as np

from pagethrift.engine.output import StreamPhase
from pagethrift.errors import StreamError
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import TABLE
from pagethrift.stream import sections
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder
from tests.fuzz.target import Bytes, Target, check_line
from tests.streams import before as _before
from tests.streams import chaos, thin_in_pieces

MOST_RAM_BYTES = 64 * PAGE_BYTES
"""lower than pagethrift's, which would only fill this machine"""
NAMES = ("pc.ram", "pc.bios", "/rom@etc/acpi/tables")
MOST_STEPS = 64
before = cache(_before)
"""what a destination holds before the stream"""
_STRATEGIES = tuple(name for name in TABLE if name != "thesis-literal")


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    seed = source.number(2)
    chosen = source.number()
    stream = write(source)
    with mock.patch.object(sections, "MAX_RAM_BYTES", MOST_RAM_BYTES):
        check(stream, strategy(chosen, seed), seed)


def strategy(chosen: int, seed: int) -> Strategy:
    """Return a strategy of the table, or one that answers at random."""
    return chaos(seed) if chosen >= 2 * len(_STRATEGIES) else TABLE[_STRATEGIES[chosen % len(_STRATEGIES)]]()


def check(stream: bytes, how: Strategy, seed: int) -> None:
    """Thin a stream; compare what both images hold."""
    expected, thinned = None, b""
    wrong: StreamError | None = None
    refused: StreamError | None = None
    try:
        expected = image(stream, before)
    except StreamError as error:
        wrong = error
    try:
        thinned, thinner = thin_in_pieces(stream, how, seed)
    except StreamError as error:
        refused = error
        check_line(error)
    if refused is not None:
        assert 0 <= refused.offset <= len(stream)
        assert wrong is not None, f"refused a valid stream: {refused}"
        return
    if thinner.phase is StreamPhase.PIPE:
        assert thinned == stream
        check_line(Exception(thinner.warning))
        return
    assert expected is not None, f"took a stream that breaks the format: {wrong}"
    got = image(thinned, before)
    assert got.table is not None
    assert expected.table is not None
    assert got.table.blocks == expected.table.blocks
    assert np.array_equal(got.memory, expected.memory), "another image"
    assert got.tail == expected.tail
    assert len(thinner.held) == 0


def write(source: Bytes, return_path: bool = False) -> bytes:
    """Write the stream that an input describes."""
    wrong = [(source.number(2), source.number()) for _ in range(source.below(4))]
    pages_of = [1 + source.below(5) for _ in range(1 + source.below(3))]
    builder = StreamBuilder(zip(NAMES, pages_of, strict=False), return_path=return_path)
    builder.begin_body()
    content: dict[tuple[int, int], bytes] = {}
    for _ in range(MOST_STEPS):
        if not source.left:
            break
        _step(source, builder, pages_of, content)
    builder.end_body()
    builder.begin_body(last=True)
    for _ in range(source.below(4)):
        _step(source, builder, pages_of, content)
    builder.end_body()
    stream = bytearray(builder.finish())
    for at, value in wrong:
        stream[at % len(stream)] ^= value
    return bytes(stream)


def _step(
    source: Bytes, builder: StreamBuilder, pages_of: list[int], content: dict[tuple[int, int], bytes]
) -> None:
    match source.below(16):
        case 12:
            builder.end_body()
            builder.begin_body()
        case 13:
            builder.end_body()
            builder.parts.append(foreign(source))
            builder.begin_body()
        case 14:
            builder.parts.append(source.take(source.below(24)))
        case 15:
            builder.delta(*_place(source, pages_of), source.take(source.below(12)))
        case kind:
            place = _place(source, pages_of)
            page = page_of(source, kind, content.get(place, bytes(PAGE_BYTES)))
            content[place] = page
            builder.page(*place, b"" if not any(page) and kind != 1 else page)


def _place(source: Bytes, pages_of: list[int]) -> tuple[int, int]:
    block = source.below(len(pages_of))
    return block, source.below(pages_of[block])


def page_of(source: Bytes, kind: int, old: bytes) -> bytes:
    """Return a page's new content: zero, noise, few words, equal, some edits."""
    match kind:
        case 0 | 1:
            return bytes(PAGE_BYTES)
        case 2:
            return random.Random(source.number()).randbytes(PAGE_BYTES)
        case 3 | 4:
            page = bytearray(PAGE_BYTES)
        case 5:
            return old
        case _:
            page = bytearray(old)
    for _ in range(1 + source.below(6)):
        at, length = source.below(PAGE_BYTES, 2), (1, 1, 8, 300)[source.below(4)]
        page[at : at + length] = bytes([source.number()]) * len(page[at : at + length])
    return bytes(page)


def foreign(source: Bytes) -> bytes:
    """Return a section or command that is not RAM's."""
    match source.below(4):
        case 0:
            return bytes.fromhex("0800020004") + source.take(4).ljust(4, b"\0")
        case 1:
            return bytes([1]) + b"\0\0\0\7\x08dev/vfio" + bytes(8) + _vfio(source)
        case 2:
            return bytes([2]) + b"\0\0\0\7" + _vfio(source)
        case _:
            return b"\1\0\0\0\5\x0cdirty-bitmap\0\0\0\0\0\0\0\1\x1c\3sda\1b\0\0\0\0\x01\1\x7e\0\0\0\5"


def _vfio(source: Bytes) -> bytes:
    data = source.take(source.below(40))
    parts = b"\xff\xff\xff\xff\xef\x10\0\4" + len(data).to_bytes(8, "big") + data
    return parts + b"\xff\xff\xff\xff\xef\x10\0\1\x7e\0\0\0\7"


def seeds() -> Iterator[bytes]:
    rng = random.Random(2)
    for count in (20, 60, 150, 400):
        for chosen in range(0, 2 * len(_STRATEGIES) + 4, 3):
            yield rng.randbytes(2) + bytes([chosen, rng.choice((0, 0, 1))]) + rng.randbytes(count)
    steps = bytes(
        (12, 2, 0, 0, 1, 5, 0, 0, 6, 0, 0, 1, 0, 9, 0, 3, 13, 1, 4, 1, 2, 3, 4, 13, 2, 0, 13, 3, 2, 0, 1, 7)
    )
    for chosen in (2, 11, 250):
        yield bytes((0, chosen, chosen, 0, 1, 3, 3)) + steps + steps


TARGET = Target(fuzz_one, seeds, most_bytes=600)
