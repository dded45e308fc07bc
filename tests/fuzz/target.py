"""What a fuzz target is, and how it takes its input apart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under attack."""

    fuzz_one: Callable[[bytes], None]
    """raises on a finding: any exception"""
    seeds: Callable[[], Iterable[bytes]]
    """inputs to begin with, made anew each time"""
    most_bytes: int = 4096
    """of an input"""


class Bytes:
    """An input, taken byte by byte from its front; zeros once it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return max(0, len(self._data) - self._at)

    def take(self, count: int) -> bytes:
        """Take up to ``count`` bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(self.left)

    def number(self, size: int = 1) -> int:
        """Take a big-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "big")

    def below(self, limit: int, size: int = 1) -> int:
        """Take a number from 0 to ``limit`` - 1."""
        return self.number(size) % limit

    def flag(self) -> bool:
        """Take one bit, of a byte."""
        return bool(self.number() & 1)


def pieces(data: bytes, lengths: bytes) -> Iterator[bytes]:
    """Cut ``data`` into pieces whose lengths repeat those given (0: 1)."""
    at, turn = 0, 0
    while at < len(data):
        length = max(1, lengths[turn % len(lengths)]) if lengths else len(data)
        yield data[at : at + length]
        at += length
        turn += 1


def check_line(error: Exception) -> None:
    """Errors are one line."""
    text = str(error)
    assert text, "an error without a word"
    assert "\n" not in text, f"an error of several lines: {text!r}"
    assert len(text) < 10_000, f"an error of {len(text)} characters"


_folder = tempfile.TemporaryDirectory(prefix="ptfuzz")


@contextmanager
def file_of(data: bytes, name: str) -> Iterator[Path]:
    """Yield a file of that content, in a folder of this process."""
    path = Path(_folder.name) / name
    path.write_bytes(data)
    yield path
