"""The stream reader: whatever the pieces, the same events or the same StreamError, and no byte is lost."""

from __future__ import annotations

from collections.abc import Iterator

from pagethrift.errors import StreamError
from pagethrift.model.pages import Kind
from pagethrift.stream.events import BodyBegins, BodyEnds, Event, Pages, RamBegins, RamEnds, Raw, Signal
from pagethrift.stream.reader import StreamReader
from pagethrift.stream.synthetic import StreamBuilder
from tests.fuzz.target import Bytes, Target, check_line, pieces
from tests.streams import random_stream

_BUFFER_BYTES = 1


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    lengths = source.take(4)
    batch_pages = 1 + source.below(8)
    stream = source.rest()
    whole, whole_raw, end = _read([stream], 64)
    cut, cut_raw, cut_end = _read(list(pieces(stream, lengths)), batch_pages)
    assert whole == cut
    # what stands before an error comes out as far as it was received before
    assert end is not None or whole_raw == cut_raw
    assert repr(end) == repr(cut_end)
    if end is None:
        assert whole[-1] is Signal.END
    else:
        check_line(end)
        assert 0 <= end.offset <= len(stream)


def _read(parts: list[bytes], batch_pages: int) -> tuple[list[object], bytes, StreamError | None]:
    """Return events without Raw's, the bytes of these, and the error."""
    reader = StreamReader(_BUFFER_BYTES, batch_pages)
    seen: list[object] = []
    raw = bytearray()
    error: StreamError | None = None
    try:
        for part in [*[part for part in parts if part], b""]:
            for event in reader.feed(part):
                _note(event, seen, raw)
    except StreamError as caught:
        error = caught
    return seen, bytes(raw), error


def _note(event: Event | Signal, seen: list[object], raw: bytearray) -> None:
    match event:
        case Raw(data):
            raw += data
        case Pages(batch):
            assert len(set(batch.page.tolist())) == len(batch), "a page twice in a batch"
            for page, kind, at, length in zip(
                batch.page.tolist(), batch.kind.tolist(), batch.position.tolist(), batch.length.tolist(),
                strict=True,
            ):  # fmt: skip
                content = b"" if kind == Kind.ZERO else batch.buffer[at : at + length].tobytes()
                seen.append((page, kind, content))
        case RamBegins(table, section):
            assert table.total_pages << 12 <= 1 << 46
            seen.append(("begins", table.blocks, section))
        case BodyBegins() | BodyEnds() | RamEnds() | Signal.FLUSH | Signal.END | Signal.SECTION_ENDS:
            seen.append(event)
        case _:
            raise AssertionError(event)


def seeds() -> Iterator[bytes]:
    head = b"\xff\xff\xff\xff\x03"
    for flush in (False, True):
        builder = StreamBuilder([("pc.ram", 3), ("r", 1)], flush)
        builder.begin_body()
        for page in (0, 2, 0):
            builder.page(0, page, b"")
        builder.page(1, 0, b"")
        builder.delta(0, 1, b"\x05\x02ab")
        builder.end_body()
        builder.begin_body(last=True)
        builder.page(0, 0, b"")
        builder.end_body()
        yield head + builder.finish()
        yield b"\1\7\2\3\1" + builder.finish()
    yield head + random_stream(4, records=4)[:12000]
    yield from (head + stream for stream in sections())


def sections() -> Iterator[bytes]:
    """Streams with everything that may stand before and between RAM's sections."""
    header = bytes.fromhex("5145564d00000003")
    machine = b"\x07\0\0\0\5q35-1"
    bits = b"\x05\x1econfiguration/target-page-bits\0\0\0\1\0\0\0\x0c"
    uuid = b"\x05\x12configuration/uuid\0\0\0\1" + bytes(16)
    shared = b"\x05\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0fx-ignore-shared"
    ping = bytes.fromhex("0800020004000000010800010000")
    early = b"\x04\0\0\0\x09\x17x/virtio-mem-device-early\0\0\0\0\0\0\0\1abc\x7e\0\0\0\x09"
    bitmap = b"\1\0\0\0\5\x0cdirty-bitmap\0\0\0\0\0\0\0\1\x1c\3sda\1b\0\0\0\0\x01\1\x7e\0\0\0\5"
    vfio = b"\1\0\0\0\7\x08dev/vfio" + bytes(8) + bytes.fromhex("ffffffffef100003ffffffffef100001")
    vfio += b"\x7e\0\0\0\7\2\0\0\0\7" + bytes.fromhex("ffffffffef100004") + b"\0\0\0\0\0\0\0\3abc"
    vfio += bytes.fromhex("ffffffffef100001") + b"\x7e\0\0\0\7"
    builder = StreamBuilder([("a", 1)])
    builder.begin_body(last=True)
    builder.page(0, 0, b"")
    builder.end_body()
    ram = builder.finish(b"tail")[8 + 1 + 4 + 9 :]
    for parts in (
        (machine, bits, uuid),
        (ping,),
        (early,),
        (bitmap,),
        (vfio,),
        (machine, ping, vfio, bitmap),
    ):
        yield header + b"".join(parts) + ram
    addressed = ram.replace(
        b"\x01a" + (4096).to_bytes(8, "big"), b"\x01a" + (4096).to_bytes(8, "big") + bytes(8)
    )
    yield header + machine + shared + addressed


TARGET = Target(fuzz_one, seeds, most_bytes=12_500)
