"""The receive buffer of the readers, and the steps that their grammars are made of."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from pagethrift.errors import StreamError
from pagethrift.model.pages import U8
from pagethrift.stream.events import Event, Raw, Signal
from pagethrift.stream.wire import RECORD_MAX

T = TypeVar("T")
E = TypeVar("E")
Step: TypeAlias = Generator[Event, None, T]
"""part of a grammar: yields events, returns the value it read"""


class NotUnderstood(StreamError):
    """Possibly legal, but unknown here: before the first rewritten byte a relay may become a pipe."""


class Received:
    """A receive buffer; while ``loans`` is not 0, unsent outputs point into it."""

    def __init__(self, capacity_bytes: int) -> None:
        self.data: U8 = np.empty(capacity_bytes, np.uint8)
        self.loans = 0


class StreamInput:
    """A buffer with two marks: the end of what was read, and the end of what was handed out as events.

    Bytes between the marks belong to the next Raw event. A buffer on loan is not written: the next
    bytes are received into another one.
    """

    def __init__(self, buffer_bytes: int) -> None:
        self.received_in = Received(max(buffer_bytes, 4 * RECORD_MAX))
        self._all = [self.received_in]
        self.position = 0
        self.end = 0
        self._handed = 0
        self._base = 0
        self.closed = False
        """the stream has ended"""
        self._view = self.buffer.data

    @property
    def buffer(self) -> U8:
        """The buffer that positions refer to."""
        return self.received_in.data

    @property
    def offset(self) -> int:
        """Stream position of the next byte to be read."""
        return self._base + self.position

    def room(self, want_bytes: int) -> memoryview:
        """Return up to ``want_bytes`` of writable space, moving unread bytes to its front."""
        rest = self.end - self._handed
        unread = self.buffer[self._handed : self.end]
        if self.received_in.loans:
            self.received_in = self._unlent()
            self._view = self.buffer.data
            self.buffer[:rest] = unread
        elif self._handed and rest:
            self.buffer[:rest] = unread.copy()
        self._base += self._handed
        self.position -= self._handed
        self.end, self._handed = rest, 0
        return self._view[rest : min(len(self._view), rest + max(want_bytes, RECORD_MAX))]

    def _unlent(self) -> Received:
        for buffer in self._all:
            if not buffer.loans:
                return buffer
        self._all.append(Received(len(self.buffer)))
        return self._all[-1]

    def received(self, count: int) -> None:
        """Count bytes written to ``room()``; 0 closes the stream."""
        self.end += count
        self.closed = count == 0

    def consume_to(self, position: int) -> None:
        """Count everything up to a buffer position as read and handed out."""
        self.position = self._handed = position

    def take_rest(self) -> memoryview:
        """Return and consume all bytes that were received and not handed out."""
        rest = self._view[self._handed : self.end]
        self.consume_to(self.end)
        return rest

    def peek(self, count: int) -> bytes:
        """Return up to ``count`` unread bytes."""
        return bytes(self._view[self.position : min(self.end, self.position + count)])

    def wait(self) -> Step[None]:
        """Ask for more bytes. Raises StreamError when the stream has ended."""
        before = self.offset + (self.end - self.position)
        if self.closed:
            raise StreamError(before, "the rest of the stream", "its end")
        yield Signal.NEED_DATA
        if self.closed:
            raise StreamError(before, "the rest of the stream", "its end")

    def more(self) -> Step[bool]:
        """Read all bytes that have arrived; False when the stream has ended."""
        while self.position == self.end:
            if self.closed:
                return False
            yield Signal.NEED_DATA
        self.position = self.end
        return True

    def flush(self) -> Step[None]:
        """Hand out what was read as a Raw event."""
        if self.position > self._handed:
            data = self._view[self._handed : self.position]
            self._handed = self.position
            yield Raw(data)

    def need(self, count: int) -> Step[None]:
        """Wait until ``count`` bytes are unread; ``count`` is small (a field)."""
        while self.end - self.position < count:
            yield from self.flush()
            yield from self.wait()

    def take(self, count: int) -> Step[bytes]:
        """Read a small field."""
        yield from self.need(count)
        data = bytes(self._view[self.position : self.position + count])
        self.position += count
        return data

    def find(self, pattern: re.Pattern[bytes], most_bytes: int) -> int:
        """Return how many unread bytes come before the next match, -1 for none.

        Looks at ``most_bytes`` at most and copies nothing.
        """
        end = min(self.end, self.position + most_bytes)
        found = pattern.search(self._view, self.position, end)
        return found.start() - self.position if found else -1

    def skip(self, count: int) -> Step[None]:
        """Read any number of bytes, and hand them out as they come."""
        while count:
            if self.position == self.end:
                yield from self.flush()
                yield from self.wait()
            step = min(count, self.end - self.position)
            self.position += step
            count -= step
        yield from self.flush()

    def u8(self) -> Step[int]:
        """Read one byte."""
        return (yield from self.take(1))[0]

    def be16(self) -> Step[int]:
        """Read a big-endian 16-bit number."""
        return int.from_bytes((yield from self.take(2)), "big")

    def be32(self) -> Step[int]:
        """Read a big-endian 32-bit number."""
        return int.from_bytes((yield from self.take(4)), "big")

    def be64(self) -> Step[int]:
        """Read a big-endian 64-bit number."""
        return int.from_bytes((yield from self.take(8)), "big")

    def name(self) -> Step[bytes]:
        """Read a length byte and that many bytes."""
        length = yield from self.u8()
        return (yield from self.take(length))


class EventReader(ABC, Generic[E]):
    """Turns bytes into events, which do not depend on how the bytes are chunked.

    Give bytes with ``room()`` and ``received()`` (no copy), or with ``feed()``; take events with
    ``next_event()`` until it returns NEED_DATA. ``E`` includes Signal.
    """

    def __init__(self, buffer_bytes: int) -> None:
        self._in = StreamInput(buffer_bytes)
        self._events = self._grammar()
        self._error: StreamError | None = None

    @abstractmethod
    def _grammar(self) -> Iterator[E | Signal]:
        """Yield events, NEED_DATA among them; end where the stream ends."""

    @property
    def offset(self) -> int:
        """Stream position of the next byte to be read."""
        return self._in.offset

    def room(self, want_bytes: int | None = None) -> memoryview:
        """Return writable space for received bytes (default: a buffer); earlier events lose their data."""
        return self._in.room(len(self._in.buffer) if want_bytes is None else want_bytes)

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were written to ``room()``; 0 means the stream ended."""
        self._in.received(count)

    def feed(self, data: bytes | memoryview) -> Iterator[E | Signal]:
        """Give bytes (empty: the end) and yield every event they complete."""
        view = memoryview(data)
        while True:
            count = 0
            if len(view):
                room = self.room()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
            self.received(count)
            while (event := self.next_event()) is not Signal.NEED_DATA:
                yield event
                if event is Signal.END:
                    return
            if not len(view):
                return

    def next_event(self) -> E | Signal:
        """Return the next event; END at the end. Raises StreamError, the same one again after the first."""
        if self._error is not None:
            raise self._error
        try:
            return next(self._events, Signal.END)
        except StreamError as error:
            self._error = error
            raise
