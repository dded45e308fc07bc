"""The return path: the destination's answers (QEMU migration/migration.c)."""

from __future__ import annotations

from struct import Struct

SHUT = 1
PONG = 2
POSTCOPY = range(3, 7)
"""requests for pages, the bitmap of received pages, the acknowledgement of a resumed post-copy"""
SWITCHOVER_ACK = 7
MAX_FRAME_BYTES = 16 + 255
HEAD = Struct(">HH")
"""kind, bytes that follow"""


class ReturnPath:
    """Watches return-path bytes, in time proportional to their number.

    ``shut`` is the value of the destination's SHUT message, None before it: 0 = loaded, else failed.
    """

    def __init__(self) -> None:
        self.shut: int | None = None
        self.seen = False
        """the destination has answered something: it will say SHUT in the end"""
        self.postcopy = False
        """the destination has sent what belongs to post-copy, which a relayed migration never enters"""
        self.understood = True
        self.pong = False
        """the PONG that was awaited has come"""
        self._awaited: int | None = None
        self._rest = b""
        """the beginning of a frame that is not whole yet: less than 4 + MAX_FRAME_BYTES"""

    def await_pong(self, value: int) -> None:
        """Take the answer to a PING of ours out of the bytes: the source must not see it."""
        self._awaited = value

    def feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Look at bytes and return those for the source: all of them, except a PONG that is awaited.

        A frame that is not understood ends the watching, but bytes still flow. A frame that is not whole is
        kept back until it is.
        """
        if not self.understood:
            return data
        if self._rest:
            data = self._rest + data
        at, end, head = 0, len(data), HEAD.unpack_from
        pong: slice | None = None
        while end - at >= 4:
            kind, length = head(data, at)
            if not 1 <= kind <= SWITCHOVER_ACK or length > MAX_FRAME_BYTES:
                self.understood, self._rest = False, b""
                at = end
                break
            if end - at < 4 + length:
                break
            self.seen = True
            number = int.from_bytes(data[at + 4 : at + 8], "big") if length == 4 else None
            if kind == SHUT and number is not None:
                self.shut = number
            elif kind == PONG and number is not None and number == self._awaited:
                self.pong, self._awaited = True, None
                pong = slice(at, at + 4 + length)
            elif kind in POSTCOPY:
                self.postcopy = True
            at += 4 + length
        if self.understood:
            self._rest = bytes(data[at:])
        if pong is not None:
            return bytes(data[: pong.start]) + bytes(data[pong.stop : at])
        return data[:at]
