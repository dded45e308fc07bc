"""Build the tiny guest: its code is ``guest.S``, what it does is a table made here.

A guest is a list of regions, each with one pattern; it sweeps over them again
and again, in order, for ever or for a number of sweeps. Listing a region twice
makes it twice as hot. Memory no region names stays zero.

    guest = TinyGuest((Region(Pattern.FLIP, start=4 * MIB, pages=256),), writes_per_s=2000)
    guest.write(tmp_path / "guest.bin")          # for qemu -kernel
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

PAGE_BYTES = 4096
MIB = 1 << 20
LOAD = 0x100000
"""guest physical address of the code; the table follows at LOAD + TABLE_OFFSET"""
TABLE_OFFSET = 0x800
STATUS = 0x104000
"""page with READY_MAGIC, then the number of finished sweeps (if published)"""
READY_MAGIC = b"PTGGISTY"
FIRST_FREE = 0x105000
"""regions start here or higher"""
MAPPED_BYTES = 1 << 30
MAX_REGIONS = 62

_HERE = Path(__file__).parent
SOURCE_FILE = _HERE / "guest.S"
CODE_FILE = _HERE / "guest.hex"


class Pattern(IntEnum):
    """What the guest does to a region in each sweep."""

    SILENT = 1
    """rewrite ``words`` words of each page with the value they hold"""
    FLIP = 2
    """write content A in even sweeps, content B in odd ones, into the first ``words`` words of each page"""
    COUNTER = 3
    """add one to one word of each page (the word at page number modulo 512)"""
    RANDOM_WORDS = 4
    """write ``writes`` random words at random places"""
    RANDOM_PAGES = 5
    """write ``writes`` random pages with random bytes (their first ``words`` words)"""
    ZEROING = 6
    """each page gets ``words`` random words in one sweep and is zero in the next; neighbours alternate"""
    STATIC = 7
    """filled once with random bytes, never touched again"""


@dataclass(frozen=True, slots=True)
class Region:
    """``pages`` pages from guest physical address ``start`` on, and what happens to them."""

    pattern: Pattern
    start: int
    """guest physical address, a multiple of 4096"""
    pages: int
    words: int = 512
    """8-byte words touched in a page (SILENT, FLIP, RANDOM_PAGES, ZEROING)"""
    writes: int = 64
    """writes in a sweep (RANDOM_WORDS, RANDOM_PAGES)"""
    fill: bool = True
    """fill with random bytes before the first sweep"""

    @property
    def stop(self) -> int:
        """First address after the region."""
        return self.start + self.pages * PAGE_BYTES

    def cut(self, ram: bytes | memoryview) -> bytes:
        """Return the region's bytes out of a dump of guest memory from address 0 on."""
        return bytes(ram[self.start : self.stop])


@dataclass(frozen=True, slots=True)
class TinyGuest:
    """A guest: its regions and its pace."""

    regions: tuple[Region, ...]
    writes_per_s: int = 0
    """page or word writes a second, all regions together; 0 = as fast as it goes"""
    sweeps: int = 0
    """halt (the guest stays up, idle) after so many sweeps; 0 = never"""
    publish: bool = True
    """write the sweep number into the status page, which dirties that page"""
    seed: int = 0x243F6A8885A308D3

    def image(self) -> bytes:
        """Return the bytes for QEMU's ``-kernel``.

        Raises ValueError when a region is not aligned, too low or above 1 GiB, or there are too many.
        """
        if len(self.regions) > MAX_REGIONS:
            raise ValueError(f"at most {MAX_REGIONS} regions, got {len(self.regions)}")
        ns_per_write = 1_000_000_000 // self.writes_per_s if self.writes_per_s else 0
        table = struct.pack("<QQQQ", ns_per_write, self._sweeps(), self.publish, self.seed or 1)
        for region in self.regions:
            inside = region.start >= FIRST_FREE and region.stop <= MAPPED_BYTES and region.pages > 0
            if region.start % PAGE_BYTES or not inside:
                raise ValueError(f"region {region} must be pages within {FIRST_FREE:#x}..{MAPPED_BYTES:#x}")
            if not (0 < region.words <= 512 and 0 < region.writes < 1 << 32):
                raise ValueError(f"region {region} needs 1..512 words and at least one write")
            table += struct.pack(
                "<IIQQII",
                region.pattern,
                region.words,
                region.start,
                region.pages,
                region.writes,
                region.fill or region.pattern is Pattern.STATIC,
            )
        return code().ljust(TABLE_OFFSET, b"\0") + table + bytes(32)

    def write(self, path: Path) -> Path:
        """Write the image to ``path`` and return it."""
        path.write_bytes(self.image())
        return path

    def _sweeps(self) -> int:
        idle = all(region.pattern is Pattern.STATIC for region in self.regions)
        return self.sweeps or int(idle)


EVERY_PATTERN = TinyGuest(
    (
        Region(Pattern.SILENT, 2 * MIB, 256),
        Region(Pattern.FLIP, 4 * MIB, 256),
        Region(Pattern.COUNTER, 6 * MIB, 256),
        Region(Pattern.RANDOM_WORDS, 8 * MIB, 512),
        Region(Pattern.RANDOM_PAGES, 12 * MIB, 256, writes=16),
        Region(Pattern.ZEROING, 14 * MIB, 256),
        Region(Pattern.STATIC, 16 * MIB, 512),
    ),
    writes_per_s=20_000,
)
"""a region of each, at a pace that leaves several rounds"""


def code() -> bytes:
    """Return the assembled code of ``guest.S`` as committed in ``guest.hex``."""
    return bytes.fromhex(CODE_FILE.read_text(encoding="ascii"))


def content(start: int, pages: int, phase: int, words: int = 512) -> npt.NDArray[np.uint64]:
    """Return what the guest's fill writes: shape (pages, words).

    ``phase`` is 3 for the fill before the first sweep, 1 in even and 2 in odd sweeps of FLIP,
    1 in ZEROING.
    """
    address = start + PAGE_BYTES * np.arange(pages, dtype=np.uint64) + np.uint64(phase)
    state = address * np.uint64(0x9E3779B97F4A7C15)
    out = np.empty((pages, words), np.uint64)
    for word in range(words):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        out[:, word] = state
    return out


def mixed(
    region_pages: int = 256, writes_per_s: int = 4000, start: int = 2 * MIB, sweeps: int = 0
) -> TinyGuest:
    """Return a guest with one region of every pattern, one after the other from ``start`` on."""
    regions = [
        Region(pattern, start + index * region_pages * PAGE_BYTES, region_pages)
        for index, pattern in enumerate(Pattern)
    ]
    return TinyGuest(tuple(regions), writes_per_s, sweeps)
