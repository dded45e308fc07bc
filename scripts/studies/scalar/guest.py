"""The numbers of a traced guest that a scalar simulator is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pagethrift.model.pages import PAGE_BYTES
from pagethrift.trace.read import Trace

WINDOWS_S = (0.2, 1.0, 5.0)
"""a dirty rate needs a window, in which a page counts once however often it is written"""
WINDOW_S = 1.0
"""the usual one, as QEMU's calc-dirty-rate has it"""


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """True numbers of a guest, from its trace."""

    ram_bytes: int
    """of all pages, zero or not"""
    nonzero_bytes: int
    """of the pages that are not zero when the migration begins"""
    working_set_bytes: int
    """of the pages that are written to at least once"""
    dirty_bps: Mapping[str, float]
    """window in seconds -> mean of the bytes of pages written to in it, a second"""


def facts(trace: Trace) -> GuestFacts:
    """Return a guest's numbers, all exact but for the dirty rate's incomplete last window."""
    writes = trace.writes
    return GuestFacts(
        ram_bytes=int(np.count_nonzero(trace.content >= 0)) * PAGE_BYTES,
        nonzero_bytes=int(np.count_nonzero(trace.content > 0)) * PAGE_BYTES,
        working_set_bytes=len(np.unique(writes.page)) * PAGE_BYTES,
        dirty_bps={f"{each:g}": dirty_bps(trace, each) for each in WINDOWS_S},
    )


def dirty_bps(trace: Trace, window_s: float) -> float:
    """Return the mean over all whole windows of the bytes of distinct pages written to in one, a second.

    A trace that is shorter than the window is one window.
    """
    length_s = min(window_s, trace.duration_s)
    windows = int(trace.duration_s / length_s)
    window = (trace.writes.time_s / length_s).astype(np.int64)
    whole = window < windows
    keys = window[whole] * trace.pages + trace.writes.page[whole]
    return len(np.unique(keys)) * PAGE_BYTES / (windows * length_s)
