"""Lines out of whatever a pipe brings, without ever keeping more than one line of a fixed length."""

from __future__ import annotations


class BoundedLines:
    """Collects bytes and gives back whole lines, without their ends.

    Of a line longer than ``most_bytes``, with or without an end, the first ``most_bytes + 1`` bytes come out
    at once, so that the reader can refuse it by its length; the rest is dropped.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._begun = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what came next; returns the lines that are complete, or too long, by now."""
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
