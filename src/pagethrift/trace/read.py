"""Reading a trace: a first state of memory, and the later writes in the order of their times."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import F64, I32, I64, U8, U16, Bools
from pagethrift.trace.format import COLUMNS, METADATA_KEY, TraceHeader

MOST_BLOCK_BYTES = 1 << 44
"""32 bits of page numbers"""
MOST_SEED = (1 << 63) - 1
PAGES_A_ROW = 64
"""pages hinted free by a balloon have no row; without a bound a broken header could request any memory"""


@dataclass(frozen=True, slots=True)
class Writes:
    """Writes to pages as arrays of one length, ordered by time."""

    time_s: F64
    """since the beginning of the timeline"""
    page: I32
    """numbered over all blocks"""
    content: I32
    """content id after the write"""
    changed: U16
    """a bit for each 256-byte subpage that differs from the page's content before; 0: rewritten unchanged"""
    delta_bytes: U16
    sparse_bytes: U16

    def __len__(self) -> int:
        return len(self.page)


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that is ready to be played."""

    header: TraceHeader
    name: str
    content: I32
    """content id of each page at time 0; -1: never seen (a hole the guest cannot write)"""
    sparse_bytes: U16
    zstd_ratio: float | None
    """mean of zstd bytes / 4096 over the measured pages that are not zero"""
    page_class: U8 | None
    """PageClass of each page at time 0; OTHER where it was written after the guest's report"""
    writes: Writes
    duration_s: float
    """length of the timeline; a longer simulation begins it again"""
    speed: float = 1.0
    """how many times faster than recorded the guest runs"""
    quiet_zstd_share: float | None = None
    """zstd bytes / sparse bytes where measured, each page compressed alone: of pages that have no writes"""
    written_zstd_share: float | None = None
    """the same of pages that have writes, before and after them"""

    @property
    def pages(self) -> int:
        """Pages of all blocks."""
        return len(self.content)

    def faster(self, speed: float) -> Trace:
        """Return the same trace with its times divided by ``speed``. Raises UsageError."""
        if not 0 < speed < math.inf:
            raise UsageError("a trace's speed must be positive, e.g. 10")
        return replace(
            self,
            writes=replace(self.writes, time_s=self.writes.time_s / speed),
            duration_s=self.duration_s / speed,
            speed=self.speed * speed,
        )


def read_trace(path: Path, seed: int = 0) -> Trace:
    """Read a whole trace. Raises UsageError.

    Each write gets a time within its sweep's window (from the sweep before to this one), drawn from
    ``seed``. The timeline begins at the second sweep: the guest's writes during the first, long sweep
    belong to the first state.
    """
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(f"the seed is {seed}; it must be 0 to {MOST_SEED}")
    header, table = _read(path)
    sweep = table["sweep"].to_numpy().astype(np.int64)
    first_pages = header.table.first_pages
    page = first_pages[table["block"].to_numpy()] + table["page"].to_numpy()
    content = table["content"].to_numpy().astype(np.int32)
    sparse = table["sparse_bytes"].to_numpy()
    changed = table["changed"].to_numpy()
    total = int(first_pages[-1])
    start = sweep <= 1
    first_content = np.full(total, -1, np.int32)
    first_sparse = np.zeros(total, np.uint16)
    first_content[page[start]] = content[start]
    first_sparse[page[start]] = sparse[start]
    zstd = table["zstd_bytes"].to_numpy(zero_copy_only=False)
    taken = np.nan_to_num(zstd.astype(np.float64))
    known = (taken > 0) & (sparse > 0)
    classes = None
    if header.page_classes:
        column = table["page_class"].fill_null(int(PageClass.OTHER)).to_numpy()
        classes = np.full(total, PageClass.OTHER, np.uint8)
        classes[page[sweep == 0]] = column[sweep == 0]
        classes[page[sweep == 1]] = PageClass.OTHER
    began_s = np.array([each.began_s for each in header.sweeps])
    later = ~start
    written = np.zeros(total, np.bool_)
    written[page[later & (changed > 0)]] = True
    time_s = _times(sweep[later], page[later], began_s, seed)
    order = np.argsort(time_s, kind="stable")

    def ordered(name: str, kind: type[np.generic]) -> npt.NDArray[np.generic]:
        values: npt.NDArray[np.generic] = table[name].to_numpy()[later][order].astype(kind)
        return values

    return Trace(
        header=header,
        name=path.name,
        content=first_content,
        sparse_bytes=first_sparse,
        zstd_ratio=float(taken[known].mean() / 4096) if known.any() else None,
        page_class=classes,
        writes=Writes(
            time_s[order],
            page[later][order].astype(np.int32),
            content[later][order],
            ordered("changed", np.uint16),  # type: ignore[arg-type]
            ordered("delta_bytes", np.uint16),  # type: ignore[arg-type]
            ordered("sparse_bytes", np.uint16),  # type: ignore[arg-type]
        ),
        duration_s=float(began_s[-1] - began_s[1]),
        quiet_zstd_share=_share(taken, sparse, content, known & ~written[page]),
        written_zstd_share=_share(taken, sparse, content, known & written[page]),
    )


def _share(taken: F64, sparse: U16, content: I32, measured: Bools) -> float | None:
    """Return zstd bytes over sparse bytes, each content counted once; None if nothing was measured."""
    rows = np.flatnonzero(measured)
    _, first = np.unique(content[rows], return_index=True)
    once = rows[first]
    return float(taken[once].sum() / sparse[once].sum()) if len(once) else None


def _read(path: Path) -> tuple[TraceHeader, pa.Table]:
    """Return header and rows that a player can trust: kernels check no bounds."""
    file = _open(path)
    header = _header(path, file)
    if len(header.sweeps) < 3:
        raise UsageError(f"{path}: {len(header.sweeps)} sweeps are too few to be played; record for longer")
    try:
        table = file.read(COLUMNS.names).cast(COLUMNS)
        wrong = _what_is_wrong(header, table)
    except (OSError, pa.ArrowException, ArithmeticError, MemoryError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: broken trace ({error})") from error
    if wrong:
        raise UsageError(f"{path}: broken trace ({wrong})")
    return header, table


def _what_is_wrong(header: TraceHeader, table: pa.Table) -> str:
    """Return the first contradiction between header and rows, or an empty string."""
    if any(table[field.name].null_count for field in COLUMNS if not field.nullable):
        return "a value is missing"
    if not 0 < len(header.blocks) < 256 or not all(0 < size <= MOST_BLOCK_BYTES for _, size in header.blocks):
        return "impossible RAM blocks"
    began_s = np.array([sweep.began_s for sweep in header.sweeps], np.float64)
    if not np.isfinite(began_s).all() or began_s[0] > began_s[1] or (np.diff(began_s[1:]) <= 0).any():
        return "sweeps do not follow one another in time"
    block, page = table["block"].to_numpy(), table["page"].to_numpy()
    pages = np.diff(header.table.first_pages)
    if pages.sum() > PAGES_A_ROW * table.num_rows:
        return "RAM blocks of far more pages than the first sweep saw"
    if len(block) and block.max() >= len(pages):
        return "a row of an unknown block"
    if (page >= pages[block]).any():
        return "a page outside its block"
    if len(block) and table["sweep"].to_numpy().max() >= len(header.sweeps):
        return "a row of an unknown sweep"
    if len(block) and table["content"].to_numpy().max() > np.iinfo(np.int32).max:
        return "a content id of more than 31 bits"
    if (pc.max(table["page_class"]).as_py() or 0) > max(PageClass):
        return "an unknown page class"
    return ""


def fingerprint(path: Path) -> str:
    """Return a digest of a trace file's bytes, by which it is recognised. Raises UsageError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _header(path: Path, file: pq.ParquetFile) -> TraceHeader:
    return TraceHeader.from_metadata((file.metadata.metadata or {}).get(METADATA_KEY), str(path))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{path}: not a trace ({error})") from error


def _times(sweep: I64, page: I64, began_s: F64, seed: int) -> F64:
    """Spread each sweep's writes over their window; the same seed gives the same times."""
    mixed = page.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= (sweep.astype(np.uint64) + np.uint64(seed) * np.uint64(0x10001)) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    share = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    opened, closed = began_s[sweep - 1], began_s[sweep]
    times: F64 = opened + share * (closed - opened) - began_s[1]
    return times
