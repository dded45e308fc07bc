"""Writing a trace piece by piece, with bounded memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pagethrift.errors import UsageError
from pagethrift.model.pages import I64, U8, U16, U32
from pagethrift.trace.format import COLUMNS, METADATA_KEY, Sweep, TraceHeader
from pagethrift.whole_file import check_output

ROW_GROUP_ROWS = 128 * 1024
"""about 1.5 MB compressed; smaller groups compress worse, larger ones only cost memory"""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one sweep as arrays of one length; pages are numbered over all blocks."""

    page: I64
    content: U32
    changed: U16
    zero: npt.NDArray[np.bool_]
    delta_bytes: U16
    sparse_bytes: U16
    zstd_bytes: U16
    """0 where it was not measured"""
    page_class: U8 | None = None

    def __len__(self) -> int:
        return len(self.page)


class TraceWriter:
    """Writes sweeps in order; the file appears under its name when it is complete.

    An incomplete file is called ``NAME.part``: Parquet keeps its index at the end.
    """

    def __init__(self, path: Path, header: TraceHeader) -> None:
        self.header = header
        self.rows = 0
        self._path = check_output(path, "trace")
        self._part = self._path.with_name(self._path.name + ".part")
        self._first_pages = header.table.first_pages
        self._sweeps: list[Sweep] = []
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        try:
            self._file = pq.ParquetWriter(
                self._part,
                COLUMNS,
                compression="zstd",
                use_dictionary=["sweep", "block", "changed", "page_class"],
                column_encoding={"page": "DELTA_BINARY_PACKED", "content": "DELTA_BINARY_PACKED"},
            )
        except OSError as error:
            raise self._cannot_write(error) from error

    @property
    def bytes_written(self) -> int:
        """Size of the file so far."""
        return self._part.stat().st_size if self._part.exists() else 0

    @property
    def sweeps(self) -> int:
        """Sweeps written so far."""
        return len(self._sweeps)

    def write(self, rows: Rows, began_s: float, duration_s: float) -> None:
        """Add a sweep; times in seconds since the recording began.

        Raises UsageError when the disk is full.
        """
        order = np.argsort(rows.page, kind="stable")
        page = rows.page[order]
        block = np.searchsorted(self._first_pages, page, side="right") - 1
        zstd = rows.zstd_bytes[order]
        classes = rows.page_class
        columns = [
            pa.array(np.full(len(page), len(self._sweeps), np.uint32)),
            pa.array(block.astype(np.uint8)),
            pa.array((page - self._first_pages[block]).astype(np.uint32)),
            pa.array(rows.content[order]),
            pa.array(rows.changed[order]),
            pa.array(rows.zero[order]),
            pa.array(rows.delta_bytes[order]),
            pa.array(rows.sparse_bytes[order]),
            pa.array(zstd, mask=zstd == 0),
            pa.nulls(len(page), pa.uint8()) if classes is None else pa.array(classes[order]),
        ]
        self._waiting.append(pa.Table.from_arrays(columns, schema=COLUMNS))
        self._waiting_rows += len(page)
        self._sweeps.append(Sweep(began_s, duration_s, len(page)))
        self.rows += len(page)
        if self._waiting_rows >= ROW_GROUP_ROWS:
            try:
                self._flush()
            except OSError as error:
                raise self._cannot_write(error) from error

    def close(self, **changes: object) -> None:
        """Write the remaining rows and the header with ``changes`` to its fields; give the file its name.

        Raises UsageError when the disk is full.
        """
        try:
            self._finish(changes)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _finish(self, changes: Mapping[str, object]) -> None:
        self._flush()
        self.header = replace(self.header, sweeps=tuple(self._sweeps), **changes)  # type: ignore[arg-type]
        self._file.add_key_value_metadata({METADATA_KEY: self.header.to_metadata()})
        self._file.close()
        os.replace(self._part, self._path)

    def abandon(self) -> None:
        """Remove what was written, unless the file is complete."""
        if self._part.exists():
            with contextlib.suppress(OSError):  # of a full disk: it still wants to write the index
                self._file.close()
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _cannot_write(self, error: OSError) -> UsageError:
        return UsageError(f"cannot write {self._path}: {error.strerror or error}")

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP_ROWS * 4)
        self._waiting, self._waiting_rows = [], 0
