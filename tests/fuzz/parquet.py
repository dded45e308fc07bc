"""Parquet files out of an input: random bytes seldom are one, so most are made, with wrong values."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.target import Bytes

MOST_ROWS = 12
_OTHER_TYPES = (
    pa.int8(), pa.uint32(), pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.binary(), pa.bool_(),
    pa.list_(pa.int32()), pa.decimal128(20, 2), pa.timestamp("ns"), pa.null(),
)  # fmt: skip


def spoilt(source: Bytes, file: bytes) -> bytes:
    """Return a file with some of its bytes changed, and perhaps cut short."""
    changed = bytearray(file)
    for _ in range(1 + source.below(8)):
        changed[source.number(2) % len(changed)] ^= source.number()
    return bytes(changed[: len(changed) - source.below(20)] if source.below(4) == 0 else changed)


def changed_table(source: Bytes, table: pa.Table) -> pa.Table:
    """Return a table with a column dropped, doubled, of another type, or with other values."""
    for _ in range(source.below(4)):
        number = source.below(table.num_columns)
        field = table.schema.field(number)
        match source.below(6):
            case 0 if table.num_columns > 1:
                table = table.remove_column(number)
            case 1:
                table = table.append_column(field, table.column(number))
            case 2:
                kind = _OTHER_TYPES[source.below(len(_OTHER_TYPES))]
                table = table.set_column(number, pa.field(field.name, kind), pa.nulls(len(table), kind))
            case _:
                values = table.column(number).to_pylist()
                for _ in range(1 + source.below(3)):
                    if values:
                        values[source.below(len(values))] = _value(source, field.type)
                column = _column(values, table.column(number))
                table = table.set_column(number, field.with_nullable(True), column)
    return table


def _column(values: list[Any], old: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the values as a column; as it was where they do not fit it."""
    try:
        return pa.array(values, old.type)
    except (pa.ArrowException, OverflowError):
        return old


def _value(source: Bytes, kind: pa.DataType) -> Any:
    if source.below(8) == 0:
        return None
    if pa.types.is_boolean(kind):
        return source.flag()
    if pa.types.is_floating(kind):
        return (0.0, -1.0, 1e308, float("nan"), float("inf"), 0.5)[source.below(6)]
    if pa.types.is_integer(kind):
        bits = kind.bit_width
        value = source.number(bits // 8) if source.flag() else source.number()
        return value if str(kind).startswith("u") else value - (1 << (bits - 1)) * (value >> (bits - 1))
    data = source.take(source.below(64))
    return data if pa.types.is_binary(kind) else data.decode("utf-8", "replace")


def as_file(table: pa.Table, key: bytes, header: bytes) -> bytes:
    """Return a table as a file with one entry of metadata."""
    target = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({key: header}), target, use_dictionary=False)
    return target.getvalue()


def changed_json(source: Bytes, data: Any) -> bytes:
    """Return JSON with some values replaced or dropped, or a few of its bytes changed."""
    for _ in range(source.below(3)):
        _change(source, data, 0)
    text = bytearray(json.dumps(data).encode())
    for _ in range(max(0, source.below(6) - 3)):
        text[source.number(2) % len(text)] = source.number()
    return bytes(text)


def _change(source: Bytes, data: Any, depth: int) -> None:
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    if not keys:
        return
    key = keys[source.below(len(keys))]
    inner = data[key]
    if isinstance(inner, dict | list) and inner and depth < 4 and source.flag():
        _change(source, inner, depth + 1)
        return
    match source.below(8):
        case 0 if isinstance(data, dict):
            del data[key]
        case 1:
            data[key] = source.number(8) - (1 << 62)
        case 2:
            data[key] = (0, -1, 1e308, float("nan"), float("inf"), 1 << 70, 0.5, True)[source.below(8)]
        case 3:
            data[key] = None
        case 4:
            data[key] = [] if source.flag() else {}
        case 5:
            data[key] = source.take(source.below(16)).decode("utf-8", "replace")
        case 6:
            data[key] = [inner, inner]
        case _:
            data[key] = source.number()
