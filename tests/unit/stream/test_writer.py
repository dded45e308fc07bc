"""What is written loads to the same pages."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.model.methods import Method
from pagethrift.model.pages import I64, U8, PageBatch
from pagethrift.stream.encoding.full import FULL_BYTES
from pagethrift.stream.writer import PAGE_ROOM, ZERO_ROOM, RecordWriter, room_bytes
from tests.streams import seeds
from tests.unit import twins
from tests.unit.page_cases import BLOCKS, EMPTY, FEW, NEVER, PAGES, TABLE, ZERO, Case, case, one


def write(c: Case, methods: U8, last: int = -1, at: int = 5) -> tuple[bytes, list[int], int]:
    n = len(c.batch)
    room = room_bytes(c.batch.kind, c.batch.length)
    out, sizes = np.full(at + room + 64, 0xEE, np.uint8), np.full(n, -1, np.int32)
    writer = RecordWriter(TABLE, last)
    end, _ = writer.write(c.batch, methods, c.masks, c.subpage, out, at, sizes)
    assert (out[:at] == 0xEE).all()
    assert (out[at + room :] == 0xEE).all()
    return out[at:end].tobytes(), sizes.tolist(), writer.last_block


def test_room_is_for_the_longest_records() -> None:
    lengths = np.array([0, 4096, 77], np.int32)
    assert room_bytes(np.array([0, 1, 0], np.uint8), lengths) == 2 * ZERO_ROOM + PAGE_ROOM
    assert room_bytes(np.array([0, 1, 2], np.uint8), lengths) == 2 * ZERO_ROOM + PAGE_ROOM + 3 + 77
    named_zero = 8 + 1 + 255 + 1
    assert named_zero + 5 <= ZERO_ROOM, "and the head of a PART section"
    assert named_zero + 8 + 1 + 255 + 3 + 4096 + 5 <= PAGE_ROOM


@settings(max_examples=250, deadline=None)
@given(seed=seeds, last=st.integers(-1, 2))
def test_what_is_written_loads_to_the_new_pages(seed: int, last: int) -> None:
    c = case(seed)
    methods, estimated = c.choose()
    chosen = methods.copy()
    data, sizes, last_after = write(c, methods, last)
    memory = dict(c.old)
    assert twins.load(data, BLOCKS, memory, last) == (len(data), last_after)
    assert memory == c.old | c.new
    assert sum(sizes) == len(data)
    block = last
    for i, page in enumerate(c.batch.page.tolist()):
        if methods[i] == Method.SKIP:
            assert sizes[i] == 0
            continue
        where = int(np.searchsorted(TABLE.first_pages, page, side="right")) - 1
        name = 0 if where == block else 1 + len(BLOCKS[where][0])
        fell_back = methods[i] != chosen[i]
        assert sizes[i] <= (FULL_BYTES if fell_back else estimated[i]) + name
        assert not fell_back or methods[i] == Method.FULL
        block = where


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_any_legal_method_loads_to_the_new_page(seed: int) -> None:
    """Methods picked at random among the right ones, not by choose_methods: sparse may fall back to full."""
    c, rng = case(seed), random.Random(seed)
    methods = np.zeros(len(c.batch), np.uint8)
    for i, page in enumerate(c.batch.page.tolist()):
        legal = [Method.ZERO] if c.batch.kind[i] == 0 else [Method.FULL, Method.SPARSE]
        if c.batch.kind[i] and c.state[page] == ZERO:
            legal.append(Method.FROM_ZERO)
        changed = int(c.masks[i]).bit_count()
        if c.batch.kind[i] and c.state[page] != NEVER and c.subpage and changed < c.columns:
            legal.append(Method.DELTA)
        methods[i] = rng.choice(legal)
    data, sizes, _ = write(c, methods)
    memory = dict(c.old)
    twins.load(data, BLOCKS, memory)
    assert memory == c.old | c.new
    assert max(sizes) <= FULL_BYTES + 256


def test_every_byte_of_every_method() -> None:
    named, again = twins_word(0, 0x02) + b"\x06pc.ram", twins_word(0, 0x60)
    ramp = bytes(range(256)) * 16
    rows = {
        Method.SKIP: b"",
        Method.ZERO: named + b"\0",
        Method.FULL: twins_word(0, 0x08) + b"\x06pc.ram" + ramp,
        Method.DELTA: twins_word(0, 0x40) + b"\x06pc.ram\x01\x01\x04" + b"\x80\x06\x80\x02" + ramp[:256],
        Method.SPARSE: named + b"\0" + again + b"\x01\x00\x0b" + b"\xa0\x06\x08" + b"\x07" * 8,
        Method.FROM_ZERO: twins_word(0, 0x40) + b"\x06pc.ram\x01\x00\x0b" + b"\xa0\x06\x08" + b"\x07" * 8,
    }
    for method, expected in rows.items():
        c = one(FEW if method in (Method.SPARSE, Method.FROM_ZERO) else ramp, ZERO, 0b1000, 7)
        data, sizes, _ = write(c, np.array([method], np.uint8))
        assert data == expected, method
        assert sizes == [len(expected)]


def twins_word(page: int, flags: int) -> bytes:
    return (page * 4096 | flags).to_bytes(8, "big")


def test_blocks_are_found_and_named_when_they_change() -> None:
    order = [0, 5, 6, 7, 8, 11, 0, 8]
    new = {page: bytes([page + 1]) * 4096 for page in order}
    positions: I64 = np.array([page * 4096 for page in order])
    buffer = b"".join(new.get(page, EMPTY) for page in range(PAGES))
    batch = PageBatch(
        np.array(order), np.ones(8, np.uint8), positions, np.full(8, 4096, np.int32),
        np.frombuffer(bytearray(buffer), np.uint8),
    )  # fmt: skip
    c = Case(
        {}, new, np.zeros(PAGES, np.uint8), batch, np.zeros(8, np.uint32), 16, 256, np.zeros(8, np.uint8)
    )
    data, sizes, last = write(c, np.full(8, Method.FULL, np.uint8))
    assert [size - FULL_BYTES for size in sizes] == [7, 0, 2, 0, 256, 0, 7, 256]
    memory: dict[int, bytes] = {}
    assert twins.load(data, BLOCKS, memory) == (len(data), 2)
    assert memory == new
    assert last == 2


def received(seed: int, at: int) -> Case:
    """Pages where a reader leaves them: records one after the other, some with their block's name."""
    c, rng, buffer, block = case(seed), random.Random(seed), bytearray(at), -1
    for i, page in enumerate(c.batch.page.tolist()):
        here = int(np.searchsorted(TABLE.first_pages, page, side="right")) - 1
        zero = c.batch.kind[i] == 0
        word = (page - int(TABLE.first_pages[here])) << 12 | (0x02 if zero else 0x08)
        if here == block and rng.random() < 0.9:
            buffer += (word | 0x20).to_bytes(8, "big")
        else:
            name = BLOCKS[here][0]
            buffer += word.to_bytes(8, "big") + bytes([len(name)]) + name
        block = here
        c.batch.position[i] = len(buffer)
        buffer += b"\0" if zero else c.new[page]
        buffer += bytes(rng.choice((0, 0, 0, 0, 4)))
    return replace(c, batch=replace(c.batch, buffer=np.frombuffer(buffer, np.uint8)))


@settings(max_examples=250, deadline=None)
@given(
    seed=seeds, last=st.integers(-1, 2), most=st.sampled_from([0, 1, 2, 12]),
    run_bytes=st.sampled_from([1, 9, 10, 4104, 8208, 20_000]),
)  # fmt: skip
def test_runs_left_in_the_buffer_change_no_byte(seed: int, last: int, most: int, run_bytes: int) -> None:
    c = received(seed, at=8)
    methods, _ = c.choose()
    forced = random.Random(seed).random() < 0.5
    if forced:
        methods[:] = np.where(c.batch.kind == 1, Method.FULL, Method.ZERO)
    expected, expected_sizes, expected_last = write(c, methods.copy(), last)
    n = len(c.batch)
    out, sizes = np.zeros(room_bytes(c.batch.kind, c.batch.length) + 3, np.uint8), np.full(n, -1, np.int32)
    runs, writer = np.full((most, 3), -1, np.int64), RecordWriter(TABLE, last, run_bytes)
    end, found = writer.write(c.batch, methods, c.masks, c.subpage, out, 3, sizes, runs)
    written, data, at = memoryview(out.tobytes())[:end], b"", 3
    for position, start, stop in runs[:found].tolist():
        assert stop - start >= run_bytes
        data += bytes(written[at:position]) + c.batch.buffer[start:stop].tobytes()
        at = position
    assert data + bytes(written[at:]) == expected
    assert sizes.tolist() == expected_sizes
    assert writer.last_block == expected_last


@pytest.mark.slow
def test_pages_as_received_are_all_left_in_the_buffer() -> None:
    n = 5
    buffer = b"".join((i << 12 | 0x28).to_bytes(8, "big") + bytes([i + 1]) * 4096 for i in range(n))
    batch = PageBatch(
        np.arange(n), np.ones(n, np.uint8), 8 + 4104 * np.arange(n), np.full(n, 4096, np.int32),
        np.frombuffer(buffer, np.uint8),
    )  # fmt: skip
    runs, sizes = np.zeros((2, 3), np.int64), np.zeros(n, np.int32)
    for last, first in ((-1, 1), (0, 0), (1, 1)):
        methods, masks = np.full(n, Method.FULL, np.uint8), np.zeros(n, np.uint32)
        writer = RecordWriter(TABLE, last, run_bytes=2 * 4104)
        out = np.zeros(room_bytes(batch.kind, batch.length), np.uint8)
        end, found = writer.write(batch, methods, masks, 256, out, 0, sizes, runs)
        assert (found, end) == (1, first * (8 + 7 + 4096))
        assert runs[0].tolist() == [end, first * 4104, n * 4104]
        assert writer.last_block == 0
