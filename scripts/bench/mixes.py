"""Streams to measure with: six mixes of pages, written section by section, never held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagethrift.content.signature import SUBPAGE_BYTES
from pagethrift.model.pages import PAGE_BYTES, U8
from pagethrift.stream.synthetic import StreamBuilder
from pagethrift.stream.wire import RamFlag

SECTION_PAGES = 8192
"""QEMU ends a section after about 50 ms: 32 MiB at 5 Gbit/s"""
PREFIX_PAGES = 512
"""pages before the clock starts where the first round is measured: kernels are loaded by then"""
BLOCK = "pc.ram"


def _random(seed: tuple[int, ...], pages: int) -> U8:
    words = np.random.Generator(np.random.SFC64(seed)).integers(
        0, 1 << 64, pages * PAGE_BYTES // 8, np.uint64
    )
    return words.view(np.uint8).reshape(pages, PAGE_BYTES)


def _equal(section: int, pages: int) -> U8:
    return _random((1, section), pages)


def _eight_bytes(section: int, pages: int) -> U8:
    content = _random((1, section), pages)
    word = np.random.default_rng((2, section)).integers(0, PAGE_BYTES // 8, pages)
    content.view(np.uint64)[np.arange(pages), word] ^= np.uint64(0x0123456789ABCDEF)
    return content


def _one_subpage(section: int, pages: int) -> U8:
    content = _random((1, section), pages)
    which = np.random.default_rng((3, section)).integers(0, PAGE_BYTES // SUBPAGE_BYTES, pages)
    parts = content.reshape(pages, -1, SUBPAGE_BYTES)
    parts[np.arange(pages), which] ^= np.uint8(0xFF)
    return content


def _all_new(section: int, pages: int) -> U8:
    return _random((4, section), pages)


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of stream."""

    name: str
    summary: str
    second: Callable[[int, int], U8] | None = None
    """(section, pages) -> contents of the second round; None: the first round is measured"""
    zeros: bool = False
    """a ZERO record after every page"""


MIXES = (
    Mix("normal", "first round, random pages"),
    Mix("half-zero", "first round, random and ZERO alternate", zeros=True),
    Mix("second-equal", "second round, every page as before", _equal),
    Mix("second-8-bytes", "second round, 8 bytes changed in each page", _eight_bytes),
    Mix("second-subpage", "second round, one 256-byte subpage changed in each page", _one_subpage),
    Mix("second-all-new", "second round, every byte of every page changed", _all_new),
)


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A stream on disk; the clock starts after ``prefix_bytes``."""

    path: Path
    prefix_bytes: int
    total_bytes: int
    measured_pages: int

    @property
    def measured_bytes(self) -> int:
        """Bytes read while the clock runs."""
        return self.total_bytes - self.prefix_bytes


def records(first_page: int, content: U8, zeros: bool = False, step: int = 1) -> U8:
    """Return CONTINUE records for every ``step``-th page as bytes.

    ``zeros`` adds a ZERO record after each, for the pages between (``step`` is 2 then).
    """
    pages = len(content)
    step = 2 if zeros else step
    rows = np.zeros((pages, 8 + PAGE_BYTES + (9 if zeros else 0)), np.uint8)
    index = np.uint64(first_page) + np.arange(pages, dtype=np.uint64) * np.uint64(step)
    rows[:, :8] = _heads(index, RamFlag.PAGE)
    rows[:, 8 : 8 + PAGE_BYTES] = content
    if zeros:
        rows[:, 8 + PAGE_BYTES : -1] = _heads(index + np.uint64(1), RamFlag.ZERO)
    return rows.reshape(-1)


def zero_records(first_page: int, pages: int) -> U8:
    """Return ZERO records for consecutive pages as bytes."""
    rows = np.zeros((pages, 9), np.uint8)
    rows[:, :8] = _heads(np.uint64(first_page) + np.arange(pages, dtype=np.uint64), RamFlag.ZERO)
    return rows.reshape(-1)


def _heads(pages: npt.NDArray[np.uint64], flag: RamFlag) -> U8:
    words = pages << np.uint64(12) | np.uint64(flag | RamFlag.CONTINUE)
    return words.astype(">u8").view(np.uint8).reshape(-1, 8)


class Pieces:
    """The parts of a stream around its page records."""

    def __init__(self, guest_pages: int) -> None:
        self._builder = StreamBuilder([(BLOCK, guest_pages)])

    def _taken(self) -> bytes:
        data = b"".join(bytes(part) for part in self._builder.parts)
        self._builder.parts.clear()
        return data

    def begin(self) -> bytes:
        """Return the header and one ZERO record that names the block."""
        self._builder.begin_body()
        self._builder.page(0, 0, b"")
        self._builder.end_body()
        return self._taken()

    def section(self, body: U8, last: bool = False) -> Iterator[bytes | memoryview]:
        """Yield a section."""
        self._builder.begin_body(last)
        yield self._taken()
        yield body.data
        self._builder.end_body()
        yield self._taken()

    def finish(self) -> bytes:
        """Return the last RAM section (empty) and device state."""
        self._builder.begin_body(last=True)
        self._builder.end_body()
        return self._builder.finish()


def write_stream(mix: Mix, path: Path, data_pages: int) -> StreamFile:
    """Write a stream of a mix with ``data_pages`` random pages a round."""
    guest_pages = data_pages * (2 if mix.zeros else 1)
    pieces = Pieces(guest_pages)
    step = 2 if mix.zeros else 1
    prefix_pages = PREFIX_PAGES if mix.second is None else 0
    total = 0
    with path.open("wb") as file:

        def put(body: U8) -> None:
            for part in pieces.section(body):
                file.write(part)

        file.write(pieces.begin())
        done = 0
        for section, pages in _sections(data_pages, prefix_pages):
            put(records(done * step, _random((1, section), pages), mix.zeros))
            done += pages
            if mix.second is None and done == min(prefix_pages, data_pages):
                prefix = file.tell()
        if mix.second is not None:
            prefix = file.tell()
            done = 0
            for section, pages in _sections(data_pages, 0):
                put(records(done, mix.second(section, pages)))
                done += pages
        file.write(pieces.finish())
        total = file.tell()
    measured = data_pages if mix.second else (data_pages - min(prefix_pages, data_pages)) * step
    return StreamFile(path, prefix, total, measured)


def _sections(pages: int, prefix_pages: int) -> Iterator[tuple[int, int]]:
    """Yield (section number, its pages); the prefix is a section of its own."""
    number, left = 0, pages
    if prefix_pages:
        yield number, min(prefix_pages, left)
        number, left = 1, left - min(prefix_pages, left)
    while left > 0:
        yield number, min(SECTION_PAGES, left)
        number, left = number + 1, left - SECTION_PAGES
