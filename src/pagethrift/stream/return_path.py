"""The return path: the destination's answers (QEMU migration/migration.c)."""

from __future__ import annotations

SHUT = 1
SWITCHOVER_ACK = 7
MAX_FRAME_BYTES = 16 + 255


class ReturnPath:
    """Watches return-path bytes without changing them.

    ``shut`` is the value of the destination's SHUT message, None before it: 0 = loaded, else failed.
    """

    def __init__(self) -> None:
        self.shut: int | None = None
        self.seen = False
        """the destination has answered, so it will send SHUT at the end"""
        self.understood = True
        self._rest = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Look at bytes; a frame that is not understood ends the watching, but bytes still flow."""
        if not self.understood:
            return
        self._rest += data
        while len(self._rest) >= 4:
            kind = int.from_bytes(self._rest[:2], "big")
            length = int.from_bytes(self._rest[2:4], "big")
            if not 1 <= kind <= SWITCHOVER_ACK or length > MAX_FRAME_BYTES:
                self.understood = False
                return
            if len(self._rest) < 4 + length:
                return
            self.seen = True
            if kind == SHUT and length == 4:
                self.shut = int.from_bytes(self._rest[4:8], "big")
            self._rest = self._rest[4 + length :]
