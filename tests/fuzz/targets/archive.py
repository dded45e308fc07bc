"""Archives of results in Parquet: results that can be written again, or one UsageError."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.results.archive import ARCHIVE_SCHEMA, read_archive, write_archive
from pagethrift.results.result import from_json
from tests.fuzz import parquet
from tests.fuzz.target import Bytes, Target, check_line, file_of
from tests.unit.report.samples import migration, result

_KEY = ARCHIVE_SCHEMA.encode()


@cache
def _sound() -> tuple[bytes, pa.Table, str]:
    """Return a small archive as its file, its rows and what it says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        write_archive(
            [("a.json", migration()), ("b.json", result("thesis")), ("c.json", result())], "study", path
        )
        table = pq.read_table(path)
        return path.read_bytes(), table, table.schema.metadata[_KEY].decode()


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    histograms = source.flag()
    with file_of(_file(source), "archive.parquet") as path:
        try:
            found = list(read_archive(path, histograms))
        except UsageError as error:
            check_line(error)
            return
    for one in found:
        assert "\n" not in one.file
        assert "\n" not in one.folder
        if one.result is not None:
            again = from_json(one.result.to_data(), "again")
            assert again is not None
            assert again.to_json() == one.result.to_json()


def _file(source: Bytes) -> bytes:
    file, table, told = _sound()
    match source.below(8):
        case 0:
            return source.rest()
        case 1 | 2:
            return parquet.spoilt(source, file)
        case _:
            data: Any = json.loads(told)
            header = parquet.changed_json(source, data)
            return parquet.as_file(_cells_changed(source, parquet.changed_table(source, table)), _KEY, header)


def _cells_changed(source: Bytes, table: pa.Table) -> pa.Table:
    """Change the JSON text of some cells."""
    for _ in range(source.below(3)):
        number = source.below(table.num_columns)
        field = table.schema.field(number)
        if field.type != pa.string():
            continue
        values = table.column(number).to_pylist()
        row = source.below(len(values))
        try:
            data = json.loads(values[row] or "")
        except ValueError:
            continue
        if isinstance(data, dict | list):
            values[row] = parquet.changed_json(source, data).decode("utf-8", "replace")
            table = table.set_column(number, field, pa.array(values, pa.string()))
    return table


def seeds() -> Iterator[bytes]:
    rng = random.Random(6)
    yield bytes([1, 3])
    yield b"\0\0" + _sound()[0][:3000]
    for kind in (1, 3, 4, 5, 6, 7):
        for count in (6, 20, 60):
            yield bytes([1, kind]) + rng.randbytes(count)


TARGET = Target(fuzz_one, seeds, most_bytes=3000)
