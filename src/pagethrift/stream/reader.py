"""The reader: bytes in, events out, however the bytes are chunked.

The grammar is a generator that asks for bytes and yields events; page records are cut
by a kernel, a batch at a time, and stay where they were received. ``offset`` of every
error counts from the first byte of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pagethrift.errors import StreamError
from pagethrift.model.pages import PageBatch
from pagethrift.stream import sections
from pagethrift.stream.events import BodyBegins, BodyEnds, Event, Pages, RamBegins, RamEnds, Signal
from pagethrift.stream.input import EventReader, NotUnderstood, Received
from pagethrift.stream.records import Stop, cut_records
from pagethrift.stream.wire import FLAG_BITS, RamFlag, Section

BATCH_PAGES = 4096
"""most records in a batch; only runs of ZERO records reach it"""
BATCH_BYTES = 1 << 20
"""most bytes of records in a batch: a larger one falls out of the L2 cache between two kernels"""

BUFFER_BYTES = 1 << 20
"""one batch; 4 MiB are no faster (measured), and several may be on loan"""

KNOWN_FLAGS = sum(RamFlag)

_REFUSED = {
    RamFlag.COMPRESS_PAGE: "capability compress (switch it off at the source)",
    RamFlag.HOOK: "an RDMA hook (migrate over a socket, not rdma:)",
    RamFlag.FULL: "the obsolete FULL flag",
}


class StreamReader(EventReader[Event]):
    """Reads one migration stream.

    StreamError says what breaks the format; its subclass NotUnderstood is raised for bytes that may
    be legal but are unknown to this reader.
    """

    def __init__(self, buffer_bytes: int = BUFFER_BYTES, batch_pages: int = BATCH_PAGES) -> None:
        super().__init__(buffer_bytes)
        self._pages = np.empty(batch_pages, np.int64)
        self._kinds = np.empty(batch_pages, np.uint8)
        self._positions = np.empty(batch_pages, np.int64)
        self._lengths = np.empty(batch_pages, np.int32)
        self._seen = np.empty(4 << (batch_pages - 1).bit_length(), np.int64)
        self._block = -1
        self._context = sections.Context()

    @property
    def other_bytes(self) -> Mapping[str, int]:
        """Name and bytes of the sections beside RAM's that came before its end."""
        return self._context.other_bytes

    @property
    def machine(self) -> str:
        """The machine type, as the stream names it; empty before it came."""
        return self._context.machine

    @property
    def return_path(self) -> bool:
        """Whether the stream has asked the destination to answer."""
        return self._context.return_path

    @property
    def received_in(self) -> Received:
        """The buffer of the latest events; while it is on loan, ``room`` uses another one."""
        return self._in.received_in

    def unread(self) -> memoryview:
        """Return the received bytes that no event has handed out, for a relay that becomes a pipe."""
        return self._in.take_rest()

    def _grammar(self) -> Iterator[Event]:
        source = self._in
        context = self._context
        yield from sections.header(source)
        while not context.ram_over:
            section = yield from source.u8()
            match section:
                case Section.CONFIGURATION:
                    yield from sections.configuration(source, context)
                case Section.COMMAND:
                    yield from sections.command(source, context)
                case Section.START | Section.FULL:
                    table = yield from sections.start(source, context, section)
                    if table is not None:
                        assert context.ram_id is not None
                        yield RamBegins(table, context.ram_id)
                        yield from self._ram_body(context, last=False)
                        yield from sections.footer(source, context.ram_id)
                case Section.PART | Section.END:
                    section_id = yield from source.be32()
                    if section_id == context.ram_id:
                        context.parts_begun = True
                        last = section == Section.END
                        yield from source.flush()
                        yield BodyBegins(last)
                        yield from self._ram_body(context, last)
                        yield from sections.footer(source, section_id)
                        context.ram_over = last
                    else:
                        yield from sections.other_part(source, context, section_id)
                case _:
                    raise NotUnderstood(
                        source.offset - 1, "a section before the end of RAM", f"type {section:#04x}"
                    )
            yield from source.flush()
            yield Signal.SECTION_ENDS
        yield RamEnds()
        while (yield from source.more()):
            yield from source.flush()
        yield Signal.END

    def _ram_body(self, context: sections.Context, last: bool) -> Iterator[Event]:
        source, table = self._in, context.table
        assert table is not None
        while True:
            count, position, self._block, stop = cut_records(
                source.buffer, source.position, source.end, self._block, BATCH_BYTES,
                table.names, table.name_lengths, table.first_pages,
                self._pages, self._kinds, self._positions, self._lengths, self._seen,
            )  # fmt: skip
            if count:
                yield from source.flush()
                source.consume_to(position)
                yield Pages(
                    PageBatch(self._pages, self._kinds, self._positions, self._lengths, source.buffer).part(
                        0, count
                    )
                )
            match stop:
                case Stop.ROOM | Stop.REPEATED:
                    pass
                case Stop.NEED_DATA:
                    yield from source.wait()
                case Stop.EOS:
                    yield from source.flush()
                    yield BodyEnds(last)
                    yield from source.skip(8)
                    return
                case Stop.FLUSH:
                    yield from source.flush()
                    yield Signal.FLUSH
                    yield from source.skip(8)
                case _:
                    self._refuse(Stop(stop))

    def _refuse(self, stop: Stop) -> None:
        source = self._in
        word = int.from_bytes(source.peek(8), "big")
        flags, address = word & FLAG_BITS, word & ~FLAG_BITS
        for flag, name in _REFUSED.items():
            if stop is Stop.BAD_FLAGS and flags & flag:
                raise StreamError(source.offset, "a page record", f"flags {flags:#05x}: {name}")
        if stop is Stop.BAD_FLAGS and flags & ~KNOWN_FLAGS:
            raise NotUnderstood(source.offset, "a known RAM record", f"flags {flags:#05x}")
        expected, got = {
            Stop.BAD_FLAGS: ("a page record or the end of the section", f"flags {flags:#05x}"),
            Stop.UNKNOWN_BLOCK: ("the name of a RAM block of this stream", "an unknown name"),
            Stop.NO_BLOCK: ("a record that names its block", "CONTINUE before any block"),
            Stop.OUT_OF_RANGE: ("a page inside its RAM block", f"block offset {address:#x}"),
            Stop.BAD_ZERO: ("a ZERO record filled with 0", "another fill byte"),
            Stop.BAD_XBZRLE: (
                "an XBZRLE record (type 1, at most 4096 bytes)",
                "another type or a longer one",
            ),
        }[stop]
        raise StreamError(source.offset, expected, got)
