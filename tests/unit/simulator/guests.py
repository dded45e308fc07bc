"""A guest small enough to follow write by write."""

from __future__ import annotations

from typing import Any

import numpy as np

from pagethrift.trace.format import TraceHeader
from pagethrift.trace.read import Trace, Writes

PAGES = 6


def trace_of(*writes: tuple[float, int, int, int], duration_s: float = 10.0) -> Trace:
    """A guest of six pages that hold 1..6; writes: (time, page, content, changed)."""
    columns: list[Any] = list(zip(*writes, strict=True)) if writes else [[], [], [], []]
    n = len(writes)
    return Trace(
        TraceHeader(PAGES * 4096, (("pc.ram", PAGES * 4096),), 0.1),
        "made",
        np.arange(1, PAGES + 1, dtype=np.int32),
        np.full(PAGES, 4096, np.uint16),
        None,
        None,
        Writes(
            np.array(columns[0], np.float64), np.array(columns[1], np.int32), np.array(columns[2], np.int32),
            np.array(columns[3], np.uint16), np.full(n, 30, np.uint16), np.full(n, 4096, np.uint16),
        ),
        duration_s,
    )  # fmt: skip
