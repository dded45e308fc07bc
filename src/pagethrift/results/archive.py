"""An archive: all results of a study in one Parquet file, a row each, nothing lost.

``docs/result-format.md`` describes it. Each field of RunResult and MigrationResult has a column of its name:
text, numbers and truth values are stored as such, anything else as JSON text. Columns are flat on purpose: a
short file can claim lists of any length, but a reader of flat columns meets at most one value a row.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.model.result import RESULT_SCHEMA, RESULT_VERSION, MigrationResult
from pagethrift.model.run_result import RUN_SCHEMA, RUN_VERSION, RunResult
from pagethrift.results.label import label
from pagethrift.results.result import LARGEST_RESULT_BYTES, MOST_RESULTS, Found, Result, from_json
from pagethrift.whole_file import whole_file

ARCHIVE_SCHEMA = "pagethrift.results"
ARCHIVE_VERSION = 1
LARGEST_ARCHIVE_BYTES = 256 << 20
"""300 runs take 3 MB"""
LARGEST_CONTENT_BYTES = 512 << 20
"""bound for all content as it is read; 300 runs take 10 MB"""
_ROWS_AT_A_TIME = 16
"""bounds memory: a short file may repeat one long text in every row"""
_TOO_MUCH = f"more than {LARGEST_CONTENT_BYTES >> 20} MiB of results; pack fewer into one archive"
_VERSIONS = {RUN_SCHEMA: RUN_VERSION, RESULT_SCHEMA: RESULT_VERSION}
_TYPES: Mapping[type, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Column:
    """One field of a result."""

    name: str
    field: str
    type: pa.DataType
    as_json: bool


def _columns(kind: type[Any]) -> tuple[_Column, ...]:
    """Return the columns of a record; a migration's field that a run also has gets ``migration_...``."""
    hints = get_type_hints(kind)
    taken = {each.name for each in fields(RunResult)} if kind is MigrationResult else set()
    found = []
    for each in fields(kind):
        if each.name == "migration":
            continue
        hint = hints[each.name]
        known, *_ = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        plain = str if isinstance(known, type) and issubclass(known, StrEnum) else known
        name = f"migration_{each.name}" if each.name in taken else each.name
        found.append(_Column(name, each.name, _TYPES.get(plain, pa.string()), plain not in _TYPES))
    return tuple(found)


_RUN, _MIGRATION = _columns(RunResult), _columns(MigrationResult)


def _schema() -> pa.Schema:
    first = [("schema", pa.string()), ("file", pa.string())]
    every = [(each.name, each.type) for each in (*_RUN, *_MIGRATION)]
    return pa.schema([*first, *every, ("histograms", pa.binary())])


def write_archive(results: Iterable[tuple[str, Result]], folder: str, path: Path) -> int:
    """Write pairs (file name, result) as an archive, whole or not at all; return how many.

    ``folder``: name of the folder the files were in. The archive is read back and compared before it gets
    its name. Raises UsageError.
    """
    kept = list(results)
    if len(kept) > MOST_RESULTS:
        raise UsageError(f"an archive holds at most {MOST_RESULTS} results, not {len(kept)}")
    metadata = {"schema": ARCHIVE_SCHEMA, "version": ARCHIVE_VERSION, "rows": _VERSIONS, "folder": folder}
    schema = _schema().with_metadata({ARCHIVE_SCHEMA: json.dumps(metadata)})
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    for name, result in kept:
        row = _row(name, result)
        for key, column in columns.items():
            column.append(row.get(key))
    try:
        table = pa.table({name: _array(name, columns[name], schema) for name in schema.names}, schema=schema)
        with whole_file(path) as draft:
            # a dictionary would repeat every long text; level 19 takes seconds a study and saves a fifth
            pq.write_table(table, draft, compression="zstd", compression_level=19, use_dictionary=False)
            _check(draft, kept)
    except UsageError as error:
        raise UsageError(f"{path} was not written: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return len(kept)


def _check(draft: Path, kept: Sequence[tuple[str, Result]]) -> None:
    again = [(found.file, found.result) for found in read_archive(draft, histograms=True)]
    for (name, result), found in zip(kept, again, strict=True):
        if found != (label(name), result):
            raise UsageError(f"{name} could not be read back unchanged")


def read_archive(path: Path, histograms: bool = False) -> Iterator[Found]:
    """Read an archive's results in their order; another Parquet file gives one `Found` without a result.

    Without ``histograms``, clients have null for them. Raises UsageError that names file and result.
    """
    file, metadata = _open(path)
    if metadata is None:
        yield Found(label(path.resolve().parent.name), label(path.name), path.resolve().parent, None)
        return
    folder = label(metadata.get("folder"))
    for row in _rows(path, file, histograms):
        name = label(row["file"])
        yield Found(folder, name, path.resolve(), _result(row, f"{path}: {name}"))


def _row(name: str, result: Result) -> dict[str, Any]:
    values = result.to_data()
    if not isinstance(result, RunResult):
        return {"schema": RESULT_SCHEMA, "file": name, **_cells(_MIGRATION, values)}
    values["client"], packed = _histograms().taken_out(result.client)
    cells = _cells(_RUN, values) | _cells(_MIGRATION, values["migration"])
    return {"schema": RUN_SCHEMA, "file": name, "histograms": packed, **cells}


def _cells(columns: Sequence[_Column], values: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: _cell(each, values[each.field]) for each in columns}


def _cell(column: _Column, value: Any) -> Any:
    return json.dumps(value, separators=(",", ":")) if column.as_json and value is not None else value


def _result(row: Mapping[str, Any], where: str) -> Result:
    try:
        data = _data(row)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except (RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{where} is not a result: {label(repr(error))}") from error
    if (result := from_json(data, where)) is None:
        raise UsageError(f"{where} is a result of an unknown schema, {label(row['schema'])}")
    return result


def _data(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result as in its JSON file."""
    schema = row["schema"]
    if schema != RUN_SCHEMA:
        return {"schema": schema, "version": RESULT_VERSION, **_values(_MIGRATION, row)}
    migration = {"schema": RESULT_SCHEMA, "version": RESULT_VERSION, **_values(_MIGRATION, row)}
    values = _values(_RUN, row)
    if row.get("histograms") is not None:
        values["client"] = _histograms().put_back(values["client"], row["histograms"])
    return {"schema": schema, "version": RUN_VERSION, "migration": migration, **values}


def _values(columns: Sequence[_Column], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return those fields of a record that have a column in the archive."""
    here = [each for each in columns if each.name in row]
    return {each.field: _value(each, row[each.name]) for each in here}


def _value(column: _Column, value: Any) -> Any:
    return json.loads(value) if column.as_json and value is not None else value


def _histograms() -> ModuleType:
    try:
        # imported here: few readers of archives want histograms, and not all have the library
        return importlib.import_module("pagethrift.results.histograms")
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install '.[lab]' in its sources") from error


def _array(name: str, values: Sequence[Any], schema: pa.Schema) -> pa.Array:
    try:
        return pa.array(values, schema.field(name).type)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UsageError(f"a result's {name} does not fit its column: {label(error)}") from error


def _open(path: Path) -> tuple[pq.ParquetFile, dict[str, Any] | None]:
    """Return a Parquet file and its archive metadata; None for a file that is not an archive."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > LARGEST_ARCHIVE_BYTES:
            raise UsageError(
                f"{path} is larger than {LARGEST_ARCHIVE_BYTES >> 20} MiB: not an archive of results"
            )
        file = pq.ParquetFile(path)
        stored = (file.metadata.metadata or {}).get(ARCHIVE_SCHEMA.encode())
        if stored is None:
            return file, None
        metadata = json.loads(stored)
        wrong = _what_is_wrong(metadata, file)
    except (pa.ArrowException, RecursionError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is not a Parquet file, or is broken: {label(error)}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {label(error.strerror or error)}") from error
    if wrong:
        raise UsageError(f"{path}: {wrong}")
    return file, metadata


def _what_is_wrong(metadata: Any, file: pq.ParquetFile) -> str:
    """Return why an archive cannot be read, or an empty string."""
    told = metadata if isinstance(metadata, dict) else {}
    if (told.get("schema"), told.get("version"), told.get("rows")) != (
        ARCHIVE_SCHEMA,
        ARCHIVE_VERSION,
        _VERSIONS,
    ):
        return "an archive of another version; read it with the pagethrift that wrote it"
    if not 0 <= file.metadata.num_rows <= MOST_RESULTS:
        return f"an archive holds at most {MOST_RESULTS} results"
    groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
    if min(groups, default=0) < 0 or sum(groups) > LARGEST_CONTENT_BYTES:
        return _TOO_MUCH
    there, names = file.schema_arrow, file.schema_arrow.names
    for field in _schema():
        if names.count(field.name) > 1 or (
            field.name in names and there.field(field.name).type != field.type
        ):
            return f"broken archive (column {field.name} must be one of {field.type})"
    missing = {"schema", "file"} - set(names)
    return f"broken archive (no column {min(missing)})" if missing else ""


def _rows(path: Path, file: pq.ParquetFile, histograms: bool) -> Iterator[dict[str, Any]]:
    names = [name for name in _schema().names if name in file.schema_arrow.names]
    if not histograms and "histograms" in names:
        names.remove("histograms")
    content_bytes = 0
    try:
        for batch in file.iter_batches(_ROWS_AT_A_TIME, columns=names, use_threads=False):
            content_bytes += batch.nbytes
            if content_bytes > LARGEST_CONTENT_BYTES:
                raise UsageError(f"{path}: {_TOO_MUCH}")
            for row in batch.to_pylist():
                if sum(len(v) for v in row.values() if isinstance(v, str | bytes)) > LARGEST_RESULT_BYTES:
                    raise UsageError(f"{path}: a result is larger than {LARGEST_RESULT_BYTES >> 20} MiB")
                yield row
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{path}: broken archive ({label(error)})") from error
