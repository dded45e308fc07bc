"""Cutting bytes from a pipe into lines while keeping at most one line of bounded length."""

from __future__ import annotations


class BoundedLines:
    """Collects bytes and gives back whole lines, without their ends.

    A line longer than ``most_bytes`` is cut: its first ``most_bytes + 1`` bytes come out at once, even before
    the line has ended, so that the reader can refuse it by its length; the rest is dropped.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._begun = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take in the next bytes; return the lines that they complete or make too long."""
        lines: list[bytes] = []
        *ended, begun = data.split(b"\n")
        for piece in ended:
            self._add(piece, lines)
            if not self._dropping:
                lines.append(bytes(self._begun))
            self._begun.clear()
            self._dropping = False
        self._add(begun, lines)
        return lines

    def _add(self, piece: bytes, lines: list[bytes]) -> None:
        if self._dropping:
            return
        self._begun += piece[: self._most_bytes + 1 - len(self._begun)]
        if len(self._begun) > self._most_bytes:
            lines.append(bytes(self._begun))
            self._begun.clear()
            self._dropping = True
