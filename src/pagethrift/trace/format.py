"""The trace format: a file's header and the columns of its rows.

``docs/trace-format.md`` is the authority; change both together. A new optional header field or a new
nullable column keeps the version; removing or renaming a column, or giving it another meaning, raises it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa

from pagethrift.errors import UsageError
from pagethrift.model.pages import BlockTable

TRACE_SCHEMA = "pagethrift.trace"
TRACE_VERSION = 1
METADATA_KEY = TRACE_SCHEMA.encode()

COLUMNS = pa.schema(
    [
        pa.field("sweep", pa.uint32(), nullable=False),
        pa.field("block", pa.uint8(), nullable=False),
        pa.field("page", pa.uint32(), nullable=False),
        pa.field("content", pa.uint32(), nullable=False),
        pa.field("changed", pa.uint16(), nullable=False),
        pa.field("zero", pa.bool_(), nullable=False),
        pa.field("delta_bytes", pa.uint16(), nullable=False),
        pa.field("sparse_bytes", pa.uint16(), nullable=False),
        pa.field("zstd_bytes", pa.uint16()),
        pa.field("page_class", pa.uint8()),
    ]
)


class DeltaSource(StrEnum):
    """How ``delta_bytes`` was found."""

    EXACT = "exact"
    """the XBZRLE payload against a copy of the page's last content"""
    SUBPAGES = "subpages"
    """an upper bound from the changed subpages"""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One reading of the dirty bitmap."""

    began_s: float
    """when the bitmap was read; seconds since the recording began"""
    duration_s: float
    """seconds until all its pages had been read"""
    rows: int


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """The header of a trace; kept as JSON in the Parquet file's metadata."""

    memory_bytes: int
    """all RAM blocks"""
    blocks: tuple[tuple[str, int], ...]
    """name and used bytes, in stream order"""
    interval_s: float
    """intended seconds between sweeps"""
    sweeps: tuple[Sweep, ...] = ()
    delta_source: DeltaSource = DeltaSource.EXACT
    zstd_share: float = 0.0
    """share of the rows whose zstd size was measured"""
    zstd_level: int = 1
    page_classes: bool = False
    """whether the column ``page_class`` is filled"""
    qemu_version: str = ""
    machine: str = ""
    accelerator: str = ""
    workload: str = ""
    """the operator's note"""
    recorded_unix_s: float = 0.0
    synthetic: bool = False
    warnings: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> BlockTable:
        """The blocks as a table, which numbers their pages."""
        return BlockTable.of([(name.encode(), used_bytes) for name, used_bytes in self.blocks])

    def to_metadata(self) -> bytes:
        """Return the header as JSON, schema and version first."""
        return json.dumps({"schema": TRACE_SCHEMA, "version": TRACE_VERSION, **asdict(self)}).encode()

    @classmethod
    def from_metadata(cls, text: bytes | None, where: str) -> TraceHeader:
        """Read a header; unknown keys are ignored. Raises UsageError."""
        if text is None:
            raise UsageError(f"{where}: not a trace; make one with pagethrift record")
        try:
            data = json.loads(text)
            if data.get("version") != TRACE_VERSION:
                raise UsageError(
                    f"{where}: trace of version {data.get('version')!r}; this pagethrift reads version"
                    f" {TRACE_VERSION}; read it with the pagethrift that wrote it"
                )
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in data.items() if key in known}
            values["blocks"] = tuple((str(name), int(size)) for name, size in values["blocks"])
            values["sweeps"] = tuple(Sweep(**sweep) for sweep in values["sweeps"])
            values["delta_source"] = DeltaSource(values["delta_source"])
            values["warnings"] = tuple(values["warnings"])
            return cls(**values)
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UsageError(f"{where}: broken trace header ({error})") from error
