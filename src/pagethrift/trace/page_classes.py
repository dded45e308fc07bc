"""Page classes from a guest's own /proc/kpageflags (Linux Documentation/admin-guide/mm/pagemap.rst)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import PAGE_BYTES, U8, U64, BlockTable

_LRU, _SLAB, _BUDDY, _MMAP, _ANON, _PGTABLE, _RESERVED = 5, 7, 10, 11, 12, 26, 32
_FOUR_GIB_PAGES = (4 << 30) // PAGE_BYTES
"""guest frames from 4 GiB on lie after the hole below it and follow low memory in the RAM block"""


def read_page_classes(path: Path, table: BlockTable, ram: str = "pc.ram") -> U8:
    """Return a class for each page of all blocks from ``cat /proc/kpageflags > FILE`` in the guest.

    Frames map to the block named ``ram``, as on QEMU's pc and q35 machines. Raises UsageError.
    """
    try:
        flags = np.frombuffer(path.read_bytes(), np.uint64)
    except (OSError, ValueError) as error:
        raise UsageError(f"--page-classes {path}: {error}; copy /proc/kpageflags of the guest") from error
    classes = np.zeros(table.total_pages, np.uint8)
    for block in table.blocks:
        if block.name.decode(errors="replace") != ram:
            continue
        low, high = flags[:_FOUR_GIB_PAGES], flags[_FOUR_GIB_PAGES:]
        low_pages = min(len(low), block.pages - min(len(high), block.pages))
        frames = np.concatenate([low[:low_pages], high])[: block.pages]
        classes[block.first_page : block.first_page + len(frames)] = classify(frames)
        return classes
    raise UsageError(f"--page-classes: the guest has no RAM block {ram}")


def classify(flags: U64) -> U8:
    """Return the PageClass of each word of /proc/kpageflags."""

    def has(bit: int) -> npt.NDArray[np.bool_]:
        return np.asarray((flags >> np.uint64(bit)) & np.uint64(1), np.bool_)

    classes = np.full(len(flags), PageClass.OTHER, np.uint8)
    classes[has(_SLAB) | has(_PGTABLE) | has(_RESERVED)] = PageClass.KERNEL
    classes[(has(_LRU) | has(_MMAP)) & ~has(_ANON)] = PageClass.CACHE
    classes[has(_ANON)] = PageClass.ANONYMOUS
    classes[has(_BUDDY)] = PageClass.FREE
    return classes
