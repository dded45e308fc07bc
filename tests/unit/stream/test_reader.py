"""The reader: events in order whatever the chunking, batches, errors that stay errors."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

from pagethrift.errors import StreamError
from pagethrift.stream.events import Event, Pages, Raw, Signal
from pagethrift.stream.reader import StreamReader
from tests.streams import random_stream, seeds
from tests.unit.stream.pieces import (
    EOS,
    FLUSH,
    HEADER,
    PAGE,
    RAM,
    TAIL,
    Seen,
    be32,
    configuration,
    page,
    part,
    ram_start,
    read,
    read_three_ways,
    whole,
    zero,
)

HEAD = HEADER + configuration() + ram_start()


def rebuilt(stream: bytes, batch_pages: int, chunk: int) -> bytes:
    """Put raw bytes and records together again, each where its event stood."""
    reader = StreamReader(1, batch_pages)
    result, view = bytearray(), memoryview(stream)
    while True:
        match event := reader.next_event():
            case Raw(data):
                result += data
            case Pages(batch):
                assert 0 < len(batch) <= batch_pages
                assert len(set(batch.page.tolist())) == len(batch)
                end = int(batch.position[-1] + batch.length[-1])
                result += batch.buffer[end - (reader.offset - len(result)) : end].tobytes()
            case Signal.NEED_DATA:
                room = reader.room(chunk)
                count = min(len(room), len(view), chunk)
                room[:count] = view[:count]
                view = view[count:]
                reader.received(count)
            case Signal.END:
                return bytes(result)
            case _:
                assert event is not None


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_no_byte_is_lost_or_moved(seed: int) -> None:
    """Raw bytes and records, in the order of events, are the stream; in the smallest buffer too."""
    rng = random.Random(seed)
    stream = random_stream(seed, records=30)
    assert rebuilt(stream, rng.choice((1, 2, 3, 64)), rng.choice((90, 4097, 50_000))) == stream


def test_records_of_several_batches() -> None:
    records = [page(i, b"pc.ram" if i == 0 else None) for i in range(8)] + [
        zero(0, b"pc.bios"),
        zero(1, None),
    ]
    stream = HEAD + part(*records) + part(zero(5, None), last=True) + TAIL
    assert read([stream]).error is not None, "CONTINUE refers to pc.bios: page 5 is beyond it"
    stream = HEAD + part(*records) + part(zero(1, None), last=True) + TAIL
    seen = read_three_ways(stream)
    assert seen.pages == [(i, 1, PAGE) for i in range(8)] + [(8, 0, b"\0"), (9, 0, b"\0"), (9, 0, b"\0")]


def test_a_page_twice_in_a_body_comes_twice_in_order() -> None:
    newer = PAGE[::-1]
    stream = HEAD + part(page(1), page(2, None), page(1, None, newer), zero(1, None), last=True) + TAIL
    seen = read_three_ways(stream)
    assert seen.pages == [(1, 1, PAGE), (2, 1, PAGE), (1, 1, newer), (1, 0, b"\0")]


def test_flush_keeps_its_place_between_pages() -> None:
    stream = HEAD + part(page(1), FLUSH, page(2, None), last=True) + TAIL
    order: list[bytes | list[int]] = []
    for event in StreamReader().feed(stream):
        match event:
            case Raw(data):
                order.append(bytes(data))
            case Pages(batch):
                order.append(batch.page.tolist())
    assert order[order.index([1]) : order.index([2]) + 1] == [[1], FLUSH, [2]]


def test_an_error_stays_an_error() -> None:
    """A caller that asks again after an error must not hear that the stream ended where it may."""
    reader = StreamReader()
    with pytest.raises(StreamError, match="an unknown name"):
        list(reader.feed(HEAD + b"\x02" + be32(RAM) + page(1, b"pc.rom")))
    with pytest.raises(StreamError, match="an unknown name"):
        reader.next_event()


def test_the_tail_is_raw_whatever_it_looks_like() -> None:
    tail = HEADER + part(page(3)) + b"\x02" + be32(RAM) + EOS
    stream = whole()[: -len(TAIL)] + tail
    seen = read_three_ways(stream)
    assert seen.raw[seen.tail :] == tail
    assert len(seen.pages) == 1


def test_nothing_at_all() -> None:
    seen = read([])
    assert seen.error is not None
    assert seen.error.offset == 0


def test_unread_gives_what_no_event_has() -> None:
    reader, seen = StreamReader(), Seen()
    events = reader.feed(HEADER + configuration() + b"\x55 and more")
    with pytest.raises(StreamError, match="type 0x55"):
        seen.note_all(events)
    assert bytes(seen.raw) + bytes(reader.unread()) == HEADER + configuration() + b"\x55 and more"
    assert bytes(reader.unread()) == b""


def test_an_end_is_final() -> None:
    reader = StreamReader()
    assert list(reader.feed(whole()))[-1] is not Signal.END
    events: list[Event] = list(reader.feed(b""))
    assert events == [Signal.END]
    assert reader.next_event() is Signal.END


def test_offset_counts_from_the_first_byte() -> None:
    reader, stream = StreamReader(1), whole()
    for i in range(len(stream)):
        for _ in reader.feed(stream[i : i + 1]):
            pass
    assert reader.offset == len(stream)
