"""cut_records against a plain parser."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.model.pages import BlockTable
from pagethrift.stream.records import Stop, cut_records
from tests.unit import twins
from tests.unit.stream.pieces import EOS, FLUSH, be16, be64, idstr, page, zero

NAMES = [(b"pc.ram", 5), (b"pc.bio", 2), (b"pc.ra", 1), (b"x" * 255, 3)]
TABLE = BlockTable.of([(name, pages * 4096) for name, pages in NAMES])


def cut(
    data: bytes,
    end: int | None = None,
    block: int = -1,
    room: int = 64,
    at: int = 0,
    most_bytes: int = 1 << 40,
) -> twins.Cut:
    """Run the kernel; ``at`` bytes of noise stand before the records, noise follows them."""
    buffer = np.frombuffer(bytearray(b"\x01" * at + data + b"\x5a" * 32), np.uint8)
    pages, positions = np.full(room, -9, np.int64), np.full(room, -9, np.int64)
    kinds, lengths = np.full(room, 99, np.uint8), np.full(room, -9, np.int32)
    seen = np.empty(4 << (room - 1).bit_length(), np.int64)
    stop_at = at + (len(data) if end is None else end)
    count, position, last, stop = cut_records(
        buffer, at, stop_at, block, most_bytes, TABLE.names, TABLE.name_lengths, TABLE.first_pages,
        pages, kinds, positions, lengths, seen,
    )  # fmt: skip
    rows = zip(pages.tolist(), kinds.tolist(), (positions - at).tolist(), lengths.tolist(), strict=True)
    return twins.Cut(list(itertools.islice(rows, count)), position - at, last, Stop(stop).name)


def xbzrle(index: int, length: int = 7, code: int = 1, block: bytes | None = b"pc.ram") -> bytes:
    word = index * 4096 | 0x40
    head = be64(word | 0x20) if block is None else be64(word) + idstr(block)
    return head + bytes([code]) + be16(length) + bytes(min(length, 5000))


names = st.sampled_from([name for name, _ in NAMES]) | st.none()
indexes = st.integers(0, 5)
good = st.one_of(
    st.builds(page, indexes, names), st.builds(zero, indexes, names),
    st.builds(xbzrle, indexes, st.sampled_from([0, 1, 7, 255, 256, 4096]), st.just(1), names),
)  # fmt: skip
bad = st.one_of(
    st.sampled_from(
        [EOS, FLUSH, be64(0x30), be64(0x4010), be64(2**64 - 4096 | 8) + idstr(b"pc.ram") + bytes(4096)]
    ),
    st.builds(be64, st.integers(0, 2**64 - 1)),
    st.builds(lambda flags: be64(flags) + bytes(20), st.integers(0, 0xFFF)),
    st.builds(page, indexes, st.sampled_from([b"", b"pc.ro", b"pc.ramx", b"y" * 255])),
    st.builds(zero, indexes, names, st.integers(1, 255)),
    st.builds(xbzrle, indexes, st.integers(0, 65535), st.integers(0, 255), names),
    st.binary(max_size=40),
)


@settings(max_examples=250, deadline=None)
@given(
    pieces=st.lists(st.one_of(good, good, good, bad), max_size=9),
    cut_off=st.integers(0, 5000),
    block=st.integers(-1, 3),
    room=st.integers(1, 8),
    at=st.integers(0, 9),
)
def test_the_kernel_agrees_with_the_twin(
    pieces: list[bytes], cut_off: int, block: int, room: int, at: int
) -> None:
    data = b"".join(pieces)
    end = max(0, len(data) - cut_off) if cut_off % 2 else len(data)
    assert cut(data, end, block, room, at) == twins.cut_records(data, end, block, NAMES, room)


REASONS = {
    "NEED_DATA": page(1)[:-1],
    "ROOM": b"".join(zero(i) for i in range(5)) + b"".join(zero(i, b"x" * 255) for i in range(3)) + EOS,
    "EOS": zero(1) + EOS,
    "FLUSH": zero(1) + FLUSH,
    "BAD_FLAGS": be64(0x400) + bytes(4096),
    "UNKNOWN_BLOCK": zero(1, b"pc.rom"),
    "NO_BLOCK": zero(1, None),
    "OUT_OF_RANGE": zero(5),
    "BAD_ZERO": zero(1, fill=1),
    "BAD_XBZRLE": xbzrle(1, 4097),
    "REPEATED": zero(1) + page(1, None),
}


def test_every_reason_is_tried() -> None:
    assert set(REASONS) == {stop.name for stop in Stop}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_to_stop(reason: str) -> None:
    data = REASONS[reason]
    result = cut(data, room=8)
    assert result.stop == reason
    assert result == twins.cut_records(data, len(data), -1, NAMES, 8)


def test_a_record_cut_anywhere_is_not_taken() -> None:
    for record in (zero(2), page(2, b"x" * 255), xbzrle(2, 300), zero(2, None)):
        for end in range(len(record)):
            result = cut(record, end, block=0)
            assert (result.records, result.position, result.block, result.stop) == ([], 0, 0, "NEED_DATA")
        assert cut(record, block=0).position == len(record)


def test_a_batch_ends_with_the_record_that_reaches_its_bytes() -> None:
    """At least one record is cut, whatever its size; the batch never passes the bound by more than one."""
    data = page(0) + zero(1, None) + page(2, None) + zero(3, None)
    first, second = len(page(0)), len(page(0)) + 9
    for most_bytes, records, position in (
        (0, 0, 0), (1, 1, first), (first, 1, first), (first + 1, 2, second), (second, 2, second),
        (second + 1, 3, second + 4104), (len(data), 4, len(data)),
    ):  # fmt: skip
        result = cut(data, most_bytes=most_bytes)
        assert (len(result.records), result.position, result.stop) == (records, position, "ROOM")


def test_the_last_page_of_a_block_is_not_the_first_of_the_next() -> None:
    assert cut(zero(4)).records == [(4, 0, 15, 1)]
    assert cut(zero(0, b"pc.bio")).records == [(5, 0, 15, 1)]
    assert cut(zero(5)).stop == "OUT_OF_RANGE"
    assert cut(zero(2**52 - 1, b"x" * 255)).stop == "OUT_OF_RANGE"


def test_a_batch_of_many_pages_finds_its_one_repetition() -> None:
    """The set of seen pages is a hash table: fill it as full as the reader does."""
    rng = random.Random(1)
    table = BlockTable.of([(b"r", 1 << 40)])
    for stride, ascending in itertools.product((1, 2, 256, 4096, 1 << 19), (False, True)):
        order = [i * stride for i in range(255)]
        if not ascending:
            rng.shuffle(order)
        again = rng.choice(order)
        data = zero(order[0], b"r") + b"".join(zero(i, None) for i in order[1:]) + zero(again, None)
        arrays = (
            np.empty(256, np.int64),
            np.empty(256, np.uint8),
            np.empty(256, np.int64),
            np.empty(256, np.int32),
        )
        count, position, _, stop = cut_records(
            np.frombuffer(bytearray(data), np.uint8), 0, len(data), -1, 1 << 40,
            table.names, table.name_lengths, table.first_pages, *arrays, np.empty(1024, np.int64),
        )  # fmt: skip
        assert (count, position, stop) == (255, len(data) - 9, Stop.REPEATED)
        assert arrays[0][:255].tolist() == order
