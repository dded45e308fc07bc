"""The return path: the destination's answers (QEMU migration/migration.c)."""

from __future__ import annotations

from struct import Struct

SHUT = 1
POSTCOPY = range(3, 7)
"""requests for pages, the bitmap of received pages, the acknowledgement of a resumed post-copy"""
SWITCHOVER_ACK = 7
MAX_FRAME_BYTES = 16 + 255
HEAD = Struct(">HH")
"""kind, bytes that follow"""


class ReturnPath:
    """Watches return-path bytes without changing them, in time proportional to their number.

    ``shut`` is the value of the destination's SHUT message, None before it: 0 = loaded, else failed.
    """

    def __init__(self) -> None:
        self.shut: int | None = None
        self.seen = False
        """the destination has answered something: it will say SHUT in the end"""
        self.postcopy = False
        """the destination has sent what belongs to post-copy, which a relayed migration never enters"""
        self.understood = True
        self._rest = b""
        """the beginning of a frame that is not whole yet: less than 4 + MAX_FRAME_BYTES"""

    def feed(self, data: bytes | memoryview) -> None:
        """Look at bytes; a frame that is not understood ends the watching, but bytes still flow."""
        if not self.understood:
            return
        if self._rest:
            data = self._rest + data
        at, end, head = 0, len(data), HEAD.unpack_from
        while end - at >= 4:
            kind, length = head(data, at)
            if not 1 <= kind <= SWITCHOVER_ACK or length > MAX_FRAME_BYTES:
                self.understood, self._rest = False, b""
                return
            if end - at < 4 + length:
                break
            self.seen = True
            if kind == SHUT:
                if length == 4:
                    self.shut = int.from_bytes(data[at + 4 : at + 8], "big")
            elif kind in POSTCOPY:
                self.postcopy = True
            at += 4 + length
        self._rest = bytes(data[at:])
