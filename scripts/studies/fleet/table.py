"""The table of simulated migrations: a sweep over trace, size, speed, link and its share, strategy."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scripts.studies.fleet.spec import GIB, Spec

from pagethrift.model.channels import CHANNELS, QUICK_BPS, WINDOW_LOG, WINDOW_LOG_MIN, Compress
from pagethrift.model.pages import F64, PAGE_BYTES, Bools
from pagethrift.simulator.simulate_options import SOURCE_BPS
from pagethrift.simulator.sweep_spec import Cell
from pagethrift.trace.read import fingerprint, read_trace

STRATEGIES = ("kvm-default", "kvm-xbzrle", "multifd-zstd", "pagethrift")
CACHE_MIB = 512
"""of XBZRLE, as in docs/comparison.md; QEMU's default is 64"""
ZSTD_CHANNELS = 2
"""QEMU's default of multifd-channels"""


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What scaling needs to know of a trace."""

    path: str
    digest: str
    ram_bytes: int
    used_bytes: int
    """of pages that are not zero"""
    dirty_bps: float
    """bytes of pages that are written a second, a page counted once in each sweep"""
    zstd_share: float
    """of a page that is not zero, compressed alone"""


def facts(spec: Spec, folder: Path) -> tuple[TraceFacts, ...]:
    """Read the traces of the classes, in order. Raises UsageError."""
    found = []
    for name, _ in spec.classes:
        path = folder / f"{name}.parquet"
        trace = read_trace(path)
        found.append(
            TraceFacts(
                str(path.resolve()),
                fingerprint(path),
                trace.header.memory_bytes,
                int(np.count_nonzero(trace.content > 0)) * PAGE_BYTES,
                len(trace.writes) * PAGE_BYTES / trace.duration_s,
                1.0 if trace.zstd_ratio is None else trace.zstd_ratio,
            )
        )
    return tuple(found)


def shape(spec: Spec) -> tuple[int, ...]:
    """Return the table's axes: trace, size, speed, link, strategy, migrations that share the link."""
    return (
        len(spec.classes), len(spec.used_gib), len(spec.speeds), len(spec.links), len(STRATEGIES),
        len(spec.migrations),
    )  # fmt: skip


def cells(spec: Spec, traces: tuple[TraceFacts, ...]) -> list[Cell]:
    """Return the simulations in the order of the table's axes."""
    return [_cell(spec, traces, index) for index in itertools.product(*map(range, shape(spec)))]


def _cell(spec: Spec, traces: tuple[TraceFacts, ...], index: tuple[int, ...]) -> Cell:
    trace = traces[index[0]]
    scale = max(1.0, spec.used_gib[index[1]] * GIB / trace.used_bytes)
    strategy = STRATEGIES[index[4]]
    bps = share_bps = spec.link_bps(index[3]) / spec.migrations[index[5]]
    parameters: tuple[tuple[str, float], ...] = ()
    if strategy == "multifd-zstd":
        bps = zstd_bps(bps, trace.zstd_share)
    if strategy == "kvm-xbzrle":
        parameters = (("cache_mib", CACHE_MIB / scale),)
    compresses = strategy == "pagethrift"
    window_log = max(WINDOW_LOG_MIN, int(WINDOW_LOG - math.log2(scale)))
    return Cell(
        trace=trace.path,
        trace_digest=trace.digest,
        strategy="kvm-default" if strategy == "multifd-zstd" else strategy,
        stop="",
        parameters=parameters,
        bandwidth_bps=max(1, round(bps / scale)),
        speed=spec.speeds[index[2]],
        delay_s=0.0,
        downtime_limit_s=spec.downtime_limit_s,
        as_live=False,
        seed=0,
        force_after_s=spec.passes * trace.used_bytes * scale / min(share_bps, bps, SOURCE_BPS),
        give_up_s=1e9,
        compress=Compress.AUTO if compresses else Compress.OFF,
        channels=CHANNELS if compresses else 0,
        window_log=window_log if compresses else 0,
        scale=scale,
    )


def zstd_bps(link_bps: float, zstd_share: float) -> float:
    """Return the bytes of pages a second that QEMU's own compressed channels bring over a link.

    The model of multifd-zstd: every page takes ``zstd_share`` of itself; two channels compress as fast as
    ours do in quick frames.
    """
    return min(link_bps / zstd_share, ZSTD_CHANNELS * QUICK_BPS)


@dataclass(frozen=True, slots=True)
class Table:
    """What every simulated migration took, in the axes of ``shape``."""

    total_s: F64
    sent_bytes: F64
    """of the guest, not of the trace"""
    first_bytes: F64
    """those of the first pass"""
    downtime_s: F64
    converges: Bools


@lru_cache(maxsize=2)
def load(results: str, spec: Spec, traces: tuple[TraceFacts, ...]) -> Table:
    """Read the table from the results of its sweep; each worker reads it once."""
    columns = [
        "key", "total_time_s", "transferred_bytes", "first_round_bytes", "downtime_s", "converged",
    ]  # fmt: skip
    rows = {row["key"]: row for row in pq.read_table(results, columns=columns).to_pylist()}
    ordered = [(cell, rows[cell.key]) for cell in cells(spec, traces)]
    axes = shape(spec)

    def shaped(values: list[float]) -> F64:
        return np.array(values, np.float64).reshape(axes)

    sent = shaped([row["transferred_bytes"] * cell.scale for cell, row in ordered])
    shares = np.array([trace.zstd_share for trace in traces])
    zstd = STRATEGIES.index("multifd-zstd")
    first = shaped([row["first_round_bytes"] * cell.scale for cell, row in ordered])
    for each in (sent, first):
        each[:, :, :, :, zstd] *= shares[:, None, None, None, None]
    return Table(
        shaped([row["total_time_s"] for _, row in ordered]),
        sent,
        first,
        shaped([row["downtime_s"] for _, row in ordered]),
        shaped([float(row["converged"]) for _, row in ordered]) > 0,
    )
