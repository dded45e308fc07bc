"""The receive buffer: bounded, nothing lost when it is moved, fields across chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pagethrift.errors import StreamError
from pagethrift.stream.events import Event, Raw, Signal
from pagethrift.stream.input import Step, StreamInput
from pagethrift.stream.wire import RECORD_MAX

DATA = random.Random(3).randbytes(100_000)


def drive(source: StreamInput, steps: Iterator[Event], data: bytes, chunk: int) -> tuple[bytes, int]:
    """Run a part of the grammar; return the raw bytes and the largest room seen."""
    raw, largest, view = bytearray(), 0, memoryview(data)
    for event in steps:
        match event:
            case Raw(piece):
                raw += piece
            case Signal.NEED_DATA:
                room = source.room(chunk)
                assert len(room) > 0, "no room is read as the end of the stream"
                largest = max(largest, len(room))
                count = min(chunk, len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
                source.received(count)
    return bytes(raw), largest


@pytest.mark.parametrize("chunk", [1, 7, 4096, 10**6])
def test_skip_hands_everything_out_in_a_small_buffer(chunk: int) -> None:
    source = StreamInput(1)
    raw, largest = drive(source, source.skip(len(DATA)), DATA, chunk)
    assert raw == DATA
    assert source.offset == len(DATA)
    assert largest <= 4 * RECORD_MAX


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_fields_and_names(chunk: int) -> None:
    source = StreamInput(1)
    found: list[object] = []

    def grammar() -> Step[None]:
        found.append((yield from source.u8()))
        found.append((yield from source.be16()))
        found.append((yield from source.be32()))
        found.append((yield from source.be64()))
        found.append((yield from source.name()))
        found.append((yield from source.name()))
        yield from source.flush()

    data = bytes(range(1, 16)) + b"\x04name" + b"\x00"
    raw, _ = drive(source, grammar(), data, chunk)
    assert found == [1, 0x0203, 0x04050607, 0x08090A0B0C0D0E0F, b"name", b""]
    assert raw == data


@pytest.mark.parametrize("have", range(8))
def test_the_end_inside_a_field(have: int) -> None:
    source = StreamInput(1)
    with pytest.raises(
        StreamError, match=f"stream byte {have}: expected the rest of the stream, got its end"
    ):
        drive(source, source.be64(), b"\x01" * have, 3)


def test_unread_bytes_survive_every_move() -> None:
    """Peek, read and move the buffer again and again: what was not handed out stays first."""
    source, rng = StreamInput(1), random.Random(1)
    position = received = 0
    while position < len(DATA):
        room = source.room(rng.choice((1, 5000)))
        count = min(len(room), len(DATA) - received, rng.choice((1, 50, 3000)))
        room[:count] = DATA[received : received + count]
        received += count
        source.received(count)
        assert source.peek(10**6) == DATA[position:received]
        unread = source.end - source.position
        step = unread if unread > 2 * RECORD_MAX else min(unread, rng.choice((0, 0, 10, 2000)))
        source.consume_to(source.position + step)
        position += step
        assert source.offset == position


def test_the_rest_is_taken_once() -> None:
    source = StreamInput(1)
    source.room(9)[:9] = DATA[:9]
    source.received(9)
    source.consume_to(4)
    assert bytes(source.take_rest()) == DATA[4:9]
    assert bytes(source.take_rest()) == b""
    assert source.offset == 9


def test_more_reads_until_the_end() -> None:
    source = StreamInput(1)

    def grammar() -> Step[None]:
        while (yield from source.more()):
            yield from source.flush()

    raw, _ = drive(source, grammar(), DATA, 999)
    assert raw == DATA


def test_a_buffer_on_loan_is_left_alone_until_it_is_given_back() -> None:
    """Three outputs late: four buffers in turn, and what is unread moves along."""
    source, lent = StreamInput(1), []
    for i in range(12):
        room = source.room(100)
        room[:100] = bytes([i]) * 100
        source.received(100)
        source.consume_to(source.end - 10)
        assert source.peek(10) == bytes([i]) * 10
        source.received_in.loans += 1
        lent.append((source.received_in, bytes(source.buffer[: source.end])))
        for buffer, held in lent:
            assert bytes(buffer.data[: len(held)]) == held
        if len(lent) > 3:
            lent.pop(0)[0].loans -= 1
    assert len({id(buffer) for buffer, _ in lent}) == 3
    assert len(source._all) == 4
    assert source.offset == 1190
