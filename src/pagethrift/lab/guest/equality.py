"""Comparing the RAM of source and destination: both are dumped, and every byte is compared."""

from __future__ import annotations

import numpy as np

from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.hosts.run_folder import run_folder
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.model.run_result import RamEquality

HOLE = range(0xA0000 // PAGE_BYTES, 0x100000 // PAGE_BYTES)
"""VGA window and BIOS shadow: at these addresses the CPU does not see plain RAM"""
BELOW_4G_BYTES = 3 << 30
"""below this, a guest physical address of the pc machine is an offset in pc.ram (q35: 2 GiB)"""
_PIECE_PAGES = 16384


def compare_ram(source: Monitor, destination: Monitor, memory_bytes: int) -> RamEquality:
    """Dump and compare both guests' RAM; both must be paused. Raises QmpError."""
    size = min(memory_bytes, BELOW_4G_BYTES)
    with run_folder(2 * size) as folder:
        dumps = [folder / side for side in ("source", "destination")]
        for monitor, dump in zip((source, destination), dumps, strict=True):
            monitor.execute("pmemsave", {"val": 0, "size": size, "filename": str(dump)}, timeout_s=120)
        left, right = (np.memmap(dump, np.uint64, "r").reshape(-1, PAGE_BYTES // 8) for dump in dumps)
        found: list[int] = []
        for start in range(0, len(left), _PIECE_PAGES):
            piece = slice(start, start + _PIECE_PAGES)
            different = np.flatnonzero((left[piece] != right[piece]).any(axis=1)) + start
            found += [int(page) for page in different if int(page) not in HOLE]
    compared = size - len(HOLE) * PAGE_BYTES
    return RamEquality(compared, len(found), tuple(page * PAGE_BYTES for page in found[:10]))
