"""Page classes from a guest's own /proc/kpageflags (Linux Documentation/admin-guide/mm/pagemap.rst)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import PAGE_BYTES, U8, U64, BlockTable

_DIRTY, _LRU, _SLAB, _WRITEBACK, _BUDDY, _MMAP, _ANON, _SWAPBACKED = 4, 5, 7, 8, 10, 11, 12, 14
_COMPOUND_HEAD, _COMPOUND_TAIL, _UNEVICTABLE, _PGTABLE, _RESERVED = 15, 16, 18, 26, 32

_GIB_PAGES = (1 << 30) // PAGE_BYTES
_FOUR_GIB_PAGES = 4 * _GIB_PAGES
"""guest frames from here on lie after the hole below 4 GiB, and follow low memory in the RAM block"""
_MOST_LOW_PAGES = 7 * _GIB_PAGES // 2
"""most RAM that pc puts below 4 GiB; of a larger RAM it puts 3 GiB below (q35: 2 GiB)"""
_SECTION_PAGES = (128 << 20) // PAGE_BYTES
"""newer kernels round the end of kpageflags up to a section of memory"""
_FIRMWARE_PAGES = (16 << 20) // PAGE_BYTES
"""older kernels end kpageflags at the last usable page, below the firmware's pages"""


def read_page_classes(path: Path, table: BlockTable, ram: str = "pc.ram") -> U8:
    """Return a class for each page of all blocks from ``cat /proc/kpageflags > FILE`` in the guest.

    Frames map to the block named ``ram``, as on QEMU's pc and q35 machines; other blocks are OTHER.
    Raises UsageError, for example when the number of frames does not fit that machine's memory.
    """
    block = next((block for block in table.blocks if block.name == ram.encode()), None)
    if block is None:
        raise UsageError(f"--page-classes: the guest has no RAM block {ram}")
    try:
        with path.open("rb") as file:
            flags = np.frombuffer(file.read(8 * (_FOUR_GIB_PAGES + block.pages + _SECTION_PAGES)), np.uint64)
    except (OSError, ValueError) as error:
        raise UsageError(f"--page-classes {path}: {error}; copy the guest's /proc/kpageflags") from error
    low = _low_pages(len(flags), block.pages)
    high = block.pages - low
    if low < 0:
        raise UsageError(
            f"--page-classes {path}: {len(flags)} frames are not those of a pc or q35 machine with"
            f" {block.pages} pages of RAM; copy all of /proc/kpageflags in this guest"
        )
    frames = np.concatenate([flags[:low], flags[_FOUR_GIB_PAGES : _FOUR_GIB_PAGES + high]])
    classes = np.zeros(table.total_pages, np.uint8)
    classes[block.first_page : block.first_page + len(frames)] = classify(frames)
    return classes


def _low_pages(frames: int, pages: int) -> int:
    """Return the pages of RAM below 4 GiB, found from the end of the guest's frames; -1 if unknown."""
    for low in (pages, 3 * _GIB_PAGES, 2 * _GIB_PAGES):
        top = pages if low == pages else _FOUR_GIB_PAGES + pages - low
        last = -(-top // _SECTION_PAGES) * _SECTION_PAGES
        if low <= min(pages, _MOST_LOW_PAGES) and top - _FIRMWARE_PAGES <= frames <= last:
            return low
    return -1


def classify(flags: U64) -> U8:
    """Return the PageClass of each word of /proc/kpageflags, given in the order of frames."""

    def has(bit: int) -> npt.NDArray[np.bool_]:
        return np.asarray((flags >> np.uint64(bit)) & np.uint64(1), np.bool_)

    # Most flags of a compound page are set on its first frame only.
    head = np.maximum.accumulate(np.where(has(_COMPOUND_HEAD), np.arange(len(flags)), 0))
    flags = np.where(has(_COMPOUND_TAIL), flags | flags[head], flags)
    kept = has(_ANON) | has(_DIRTY) | has(_WRITEBACK) | has(_MMAP) | has(_SWAPBACKED) | has(_UNEVICTABLE)
    classes = np.full(len(flags), PageClass.OTHER, np.uint8)
    classes[has(_SLAB) | has(_PGTABLE) | has(_RESERVED)] = PageClass.KERNEL
    classes[has(_LRU) & ~kept] = PageClass.CACHE
    classes[has(_ANON)] = PageClass.ANONYMOUS
    classes[has(_BUDDY)] = PageClass.FREE
    return classes
