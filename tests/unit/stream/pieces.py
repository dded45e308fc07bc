"""Streams from hand-made pieces, and what a reader makes of them in three chunkings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from pagethrift.errors import StreamError
from pagethrift.model.pages import Block
from pagethrift.stream.events import BodyEnds, Event, Pages, RamBegins, RamEnds, Raw, Signal
from pagethrift.stream.reader import StreamReader

RAM = 2
PAGE = bytes(range(256)) * 16
HEADER = bytes.fromhex("5145564d 00000003")
EOS = (0x10).to_bytes(8, "big")
FLUSH = (0x200).to_bytes(8, "big")
TAIL = b"\x04\0\0\0\x07\x05timer and whatever device state holds \x7e\0\0\0\x02\x02\0\x06"
BLOCKS: tuple[tuple[bytes, int], ...] = ((b"pc.ram", 8), (b"pc.bios", 2))


def be16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def be32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def be64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def idstr(name: bytes) -> bytes:
    return bytes([len(name)]) + name


def configuration(*subsections: bytes, machine: bytes = b"pc-q35-10.0") -> bytes:
    return b"\x07" + be32(len(machine)) + machine + b"".join(subsections)


def subsection(name: bytes, payload: bytes) -> bytes:
    return b"\x05" + idstr(b"configuration/" + name) + be32(1) + payload


def command(number: int, payload: bytes = b"") -> bytes:
    return b"\x08" + be16(number) + be16(len(payload)) + payload


def footer(section: int = RAM) -> bytes:
    return b"\x7e" + be32(section)


def start(
    name: bytes, section: int, body: bytes, *, instance: int = 0, version: int = 1, kind: int = 1
) -> bytes:
    head = bytes([kind]) + be32(section) + idstr(name) + be32(instance) + be32(version)
    return head + body + footer(section)


def block_list(
    blocks: Iterable[tuple[bytes, int]] = BLOCKS, extra: bytes = b"", total: int | None = None
) -> bytes:
    """``extra`` follows every block (a page size, an address)."""
    rows = list(blocks)
    announced = sum(pages for _, pages in rows) * 4096 if total is None else total
    return be64(announced | 4) + b"".join(idstr(n) + be64(p * 4096) + extra for n, p in rows)


def ram_start(listed: bytes | None = None, after: bytes = b"", section: int = RAM) -> bytes:
    return start(b"ram", section, (listed or block_list()) + after + EOS, version=4)


def page(index: int, block: bytes | None = b"pc.ram", content: bytes = PAGE) -> bytes:
    """A PAGE record; without a block's name it says CONTINUE."""
    word = index * 4096 | 8
    return (be64(word | 0x20) if block is None else be64(word) + idstr(block)) + content


def zero(index: int, block: bytes | None = b"pc.ram", fill: int = 0) -> bytes:
    word = index * 4096 | 2
    return (be64(word | 0x20) if block is None else be64(word) + idstr(block)) + bytes([fill])


def part(*records: bytes, last: bool = False, section: int = RAM, kind: int | None = None) -> bytes:
    number = (3 if last else 2) if kind is None else kind
    return bytes([number]) + be32(section) + b"".join(records) + EOS + footer(section)


def whole(
    *before_ram: bytes, ram: bytes | None = None, then: bytes = b"", head: bytes | None = None
) -> bytes:
    """A stream with one page: header, ``before_ram``, RAM's START, ``then``, a PART, the END, a tail."""
    first = HEADER + configuration() if head is None else head
    return b"".join([first, *before_ram, ram or ram_start(), then, part(page(3)), part(last=True), TAIL])


@dataclass
class Seen:
    """What came out of a reader."""

    raw: bytearray = field(default_factory=bytearray)
    pages: list[tuple[int, int, bytes]] = field(default_factory=list)
    blocks: tuple[Block, ...] | None = None
    marks: list[str] = field(default_factory=list)
    """RamBegins, BodyEnds and RamEnds in order, each with the raw bytes before it"""
    tail: int = -1
    """raw bytes when RAM ended"""
    error: StreamError | None = None
    ended: bool = False
    rest: bytes = b""
    """after an error: received and in no event"""

    def note_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.note(event)

    def note(self, event: Event) -> None:
        match event:
            case Raw(data):
                self.raw += data
            case Pages(batch):
                for i in range(len(batch)):
                    at = int(batch.position[i])
                    payload = batch.buffer[at : at + int(batch.length[i])].tobytes()
                    self.pages.append((int(batch.page[i]), int(batch.kind[i]), payload))
            case RamBegins(table):
                self.blocks = table.blocks
                self.marks.append(f"begins {len(self.raw)}")
            case BodyEnds(last):
                self.marks.append(f"body {last} {len(self.raw)}")
            case RamEnds():
                self.tail = len(self.raw)
                self.marks.append(f"ends {len(self.raw)}")
            case Signal.END:
                self.ended = True


def read(chunks: Iterable[bytes]) -> Seen:
    """Feed chunks and the end; an error stops the reading."""
    reader, seen = StreamReader(buffer_bytes=1 << 16), Seen()
    try:
        for chunk in [*chunks, b""]:
            for event in reader.feed(chunk):
                seen.note(event)
    except StreamError as error:
        seen.error = error
        seen.rest = bytes(reader.unread())
    return seen


def bytewise(stream: bytes) -> Iterator[bytes]:
    for i in range(len(stream)):
        yield stream[i : i + 1]


def read_three_ways(stream: bytes) -> Seen:
    """Read a good stream whole, byte by byte and with trailing bytes; all must agree."""
    seen = read([stream])
    assert seen.error is None
    assert seen.ended
    assert read(bytewise(stream)) == seen
    longer = read([stream + b"\x08trailing"])
    assert longer.raw == seen.raw + b"\x08trailing"
    assert (longer.pages, longer.marks, longer.error) == (seen.pages, seen.marks, None)
    return seen


def refused(stream: bytes, cls: type[StreamError], offset: int, match: str) -> StreamError:
    """Read a bad stream whole, byte by byte and with trailing bytes: the same error, at ``offset``."""
    errors = []
    for chunks in ([stream], bytewise(stream), [stream + bytes(5000)]):
        seen = read(chunks)
        assert seen.error is not None, "accepted"
        with pytest.raises(StreamError, match=match):
            raise seen.error
        errors.append(seen.error)
        assert type(seen.error) is cls
        assert seen.error.offset == offset
        assert "\n" not in str(seen.error)
    assert str(errors[0]) == str(errors[1])
    return errors[0]
