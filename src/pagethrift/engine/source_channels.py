"""Terminating multifd: pages from the channels go into the main stream, in a legal place and order.

Order: the source writes one SYNC to every channel, and after it a mark to main (MULTIFD_FLUSH, or the
end of a section). Pages before a SYNC go out before main passes the mark; pages after the SYNC wait
until main has passed it. So a channel waits when its next event is a SYNC, and main waits at its mark
until all channels wait.

Place: QEMU flushes main rarely. While pages flow on the channels, the received part of main often
ends between a section's end mark and its footer, or inside another device's section. The rest comes
only after the channels have been read. Main's incomplete bytes are therefore set aside, so that the
output is always inside a section of RAM or between two sections; between two sections the relay begins
a PART of its own for the pages. Otherwise both QEMU and the relay would wait for ever.
"""

from __future__ import annotations

import numpy as np

from pagethrift.content.signature import Sha256Signer, SubpageSigner
from pagethrift.engine.output import Output
from pagethrift.errors import StreamError
from pagethrift.model.pages import U64, BlockTable, PageBatch
from pagethrift.stream.events import Pages, Signal
from pagethrift.stream.packets import CHANNEL_BUFFER_BYTES, ChannelReader, Handshake, Sync
from pagethrift.stream.wire import RamFlag, Section

ASIDE_BYTES = 4 << 20
"""vfio writes at most 1 MiB a section before the end of RAM, dirty bitmaps less"""


class Channel:
    """One channel: its reader, and at most one event that is read ahead (the pages of a batch also signed).

    A channel belongs to one thread at a time. The feeding thread calls ``prepare`` and gives it bytes
    until ``prepare`` returns True. After that it belongs to the thinner, until ``Thinner.given_back``
    returns it.
    """

    def __init__(self, signer: SubpageSigner | Sha256Signer | None, batch_pages: int) -> None:
        self.reader = ChannelReader(batch_pages)
        self.handshake: Handshake | None = None
        self.received_bytes = 0
        self.event: Pages | Sync | Signal | None = None
        """the event that waits for the thinner; Signal.END for a closed channel"""
        self._signer = signer
        columns = signer.columns if signer else 0
        self._signs: U64 = np.zeros((batch_pages, columns), np.uint64)

    def room(self, want_bytes: int = CHANNEL_BUFFER_BYTES) -> memoryview:
        """Return space to receive into; call only after ``prepare`` returned False."""
        return self.reader.room(want_bytes)

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were received; 0 means that the channel was closed."""
        self.received_bytes += count
        self.reader.received(count)

    def prepare(self) -> bool:
        """Read the next event and sign its pages; False when more bytes are needed. Raises StreamError."""
        while True:
            match event := self.reader.next_event():
                case Signal.NEED_DATA:
                    return False
                case Handshake():
                    self.handshake = event
                case Pages(batch):
                    if self._signer:
                        self._signer.sign(batch, self._signs[: len(batch)])
                    self.event = event
                    return True
                case _:
                    self.event = event
                    return True

    def batch(self) -> tuple[PageBatch, U64] | None:
        """Return the waiting pages, with their signatures."""
        if not isinstance(self.event, Pages):
            return None
        batch = self.event.batch
        return batch, self._signs[: len(batch)]


class Channels:
    """All channels of one migration, and which of them wait; ``table``: the RAM blocks known so far."""

    def __init__(self, table: BlockTable) -> None:
        self.all: list[Channel] = []
        self.waiting = False
        """main waits at a mark that some channel has not reached"""
        self.ram_over = False
        self._per_section: bool | None = None
        """QEMU 7.2, 8.0 and machine types up to 8.0: the end of each section is the mark"""
        self._table = table
        self._turn = 0
        self._given_back: list[Channel] = []

    def add(self, channel: Channel) -> Channel:
        """Add a channel."""
        channel.reader.table = self._table
        self.all.append(channel)
        return channel

    def begin(self, table: BlockTable) -> None:
        """Set the RAM blocks: RAM begins."""
        self._table = table
        for channel in self.all:
            channel.reader.table = table

    def next(self) -> Channel | None:
        """Return a channel whose pages wait, each in its turn. Raises StreamError."""
        for step in range(len(self.all)):
            turn = (self._turn + step) % len(self.all)
            channel = self.all[turn]
            if channel.event is Signal.END and not self.ram_over:
                raise self._bad(channel, "packets until the end of RAM", "its end")
            if isinstance(channel.event, Pages):
                if self.ram_over:
                    raise self._bad(channel, "no page after RAM's last section", "a packet of pages")
                self._turn = turn + 1
                return channel
        return None

    def give_back(self, channel: Channel) -> None:
        """Give a channel back: its event was used."""
        channel.event = None
        self._given_back.append(channel)

    def given_back(self) -> list[Channel]:
        """Return the channels given back since the last call."""
        found, self._given_back = self._given_back, []
        return found

    def at_flush(self, offset: int) -> bool:
        """Return whether main, at MULTIFD_FLUSH, may pass it. Raises StreamError."""
        if self._per_section:
            raise StreamError(offset, "no MULTIFD_FLUSH, as in RAM's first section", "one")
        self._per_section = False
        return self._pass(offset)

    def at_end_of_body(self, offset: int) -> bool:
        """Return whether main, at a section's end mark, may pass it. Raises StreamError."""
        if self._per_section is None:
            self._per_section = True
        return not self._per_section or self._pass(offset)

    def _pass(self, offset: int) -> bool:
        self.waiting = not all(isinstance(channel.event, Sync) for channel in self.all)
        if self.waiting:
            return False
        shakes = [channel.handshake for channel in self.all if channel.handshake]
        numbers = sorted(shake.number for shake in shakes)
        if numbers != list(range(len(self.all))):
            expected = f"multifd channels 0 to {len(self.all) - 1} before the end of RAM's first section"
            raise StreamError(offset, expected, ", ".join(map(str, numbers)))
        if len({shake.uuid for shake in shakes}) > 1:
            raise StreamError(offset, "multifd channels of one guest", "handshakes with different uuids")
        for channel in self.all:
            self.give_back(channel)
        return True

    @staticmethod
    def _bad(channel: Channel, expected: str, got: str) -> StreamError:
        return StreamError(channel.reader.offset, f"{expected} on {channel.reader.name}", got)


class Frame:
    """Keeps the output in a place where page records may follow, at once or after ``open``."""

    def __init__(self, ram_id: int) -> None:
        number = ram_id.to_bytes(4, "big")
        self._head = bytes([Section.PART]) + number
        self._foot = int(RamFlag.EOS).to_bytes(8, "big") + bytes([Section.FOOTER]) + number
        self._aside = bytearray()
        self._inside = True
        self._own = False
        self._drop_bytes = 0

    @property
    def closes_own(self) -> bool:
        """Whether ``put`` will first end a section of our own."""
        return self._own and bool(self._aside)

    def drop(self, count: int) -> None:
        """Leave out the next ``count`` bytes of main."""
        self._drop_bytes += count

    def keep(self, data: memoryview, offset: int) -> None:
        """Set bytes of main aside. Raises StreamError when too much of a section is incomplete."""
        dropped = min(self._drop_bytes, len(data))
        self._drop_bytes -= dropped
        self._aside += data[dropped:]
        if len(self._aside) > ASIDE_BYTES:
            raise StreamError(
                offset,
                f"a section of at most {ASIDE_BYTES >> 20} MiB beside RAM",
                "a longer one (switch capability multifd off at the source)",
            )

    def put(self, out: Output, inside: bool) -> bool:
        """Write the bytes set aside, which leaves the output ``inside`` a section of RAM or between two.

        Returns False when the output is full: call again with an emptier one.
        """
        if self._own and self._aside:
            self._aside[:0] = self._foot
            self._own = False
        count = min(out.free, len(self._aside))
        out.data[out.size : out.size + count] = np.frombuffer(bytes(self._aside[:count]), np.uint8)
        out.size += count
        del self._aside[:count]
        self._inside = inside or self._own
        return not self._aside

    def open(self, out: Output) -> None:
        """Begin a PART, if needed, so that page records may follow; takes a few bytes of output."""
        if not self._inside:
            out.data[out.size : out.size + len(self._head)] = np.frombuffer(self._head, np.uint8)
            out.size += len(self._head)
            self._inside = self._own = True
