"""Traces in Parquet: arrays that a simulation, which checks no bounds, can trust, or one UsageError."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.trace.format import METADATA_KEY
from pagethrift.trace.read import Trace, read_trace
from pagethrift.trace.synthetic import Load, Synthetic, make_trace
from tests.fuzz import parquet
from tests.fuzz.target import Bytes, Target, check_line, file_of


@cache
def _sound() -> tuple[bytes, pa.Table, str]:
    """Return a small trace as its file, its rows and its header."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        make_trace(path, Synthetic(Load.UNIFORM, pages=6, writes_per_s=4.0, seconds=3.0))
        told = pq.ParquetFile(path).metadata.metadata[METADATA_KEY]
        return path.read_bytes(), pq.read_table(path), told.decode()


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    with file_of(_file(source), "trace.parquet") as path:
        for read in (read_trace,):
            try:
                found = read(path)
            except UsageError as error:
                check_line(error)
                continue
            if isinstance(found, Trace):
                _check(found)


def _file(source: Bytes) -> bytes:
    file, table, header = _sound()
    match source.below(8):
        case 0:
            return source.rest()
        case 1 | 2:
            return parquet.spoilt(source, file)
        case _:
            told: Any = json.loads(header)
            changed = parquet.changed_json(source, told)
            return parquet.as_file(parquet.changed_table(source, table), METADATA_KEY, changed)


def _check(trace: Trace) -> None:
    pages, writes = trace.pages, trace.writes
    assert pages == trace.header.table.total_pages
    assert pages > 0
    assert len(trace.sparse_bytes) == pages
    assert trace.content.min() >= -1
    assert trace.page_class is None or len(trace.page_class) == pages
    assert np.isfinite(trace.duration_s)
    assert trace.duration_s > 0
    columns = (
        writes.time_s,
        writes.page,
        writes.content,
        writes.changed,
        writes.delta_bytes,
        writes.sparse_bytes,
    )
    assert {len(each) for each in columns} == {len(writes)}
    if len(writes):
        assert writes.page.min() >= 0
        assert writes.page.max() < pages
        assert writes.content.min() >= 0
        assert (np.diff(writes.time_s) >= 0).all()
        assert writes.time_s.min() >= 0
        assert writes.time_s.max() <= trace.duration_s * (1 + 1e-9)


def seeds() -> Iterator[bytes]:
    rng = random.Random(5)
    yield bytes([3])
    yield b"\0" + _sound()[0][:1500]
    yield b"\0PAR1"
    for kind in (1, 3, 4, 5, 6, 7):
        for count in (6, 20, 60):
            yield bytes([kind]) + rng.randbytes(count)


TARGET = Target(fuzz_one, seeds, most_bytes=1500)
