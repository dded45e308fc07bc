"""A result from a file or an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pagethrift.errors import UsageError
from pagethrift.model.result import RESULT_SCHEMA, MigrationResult
from pagethrift.model.run_result import RUN_SCHEMA, RunResult
from pagethrift.results.label import label

LARGEST_RESULT_BYTES = 32 << 20
"""a run of an hour with ten intervals a second is 2 MB"""
MOST_RESULTS = 10_000
"""limit for one command and for one archive"""

Result: TypeAlias = RunResult | MigrationResult


@dataclass(frozen=True, slots=True)
class Found:
    """One result, or one file without a result."""

    folder: str
    """name of the folder of the result file, or of its folder before it was packed into an archive"""
    file: str
    """name of the result file; both names fit one line and have no path, so that none is published"""
    source: Path
    """the folder or archive that was read"""
    result: Result | None
    """None: the file is of another kind"""


def from_json(data: Any, where: str) -> Result | None:
    """Return the result in parsed JSON; None for another kind. Raises UsageError, ``where`` in front."""
    try:
        match data:
            case {"schema": schema} if schema == RUN_SCHEMA:
                return RunResult.from_data(data)
            case {"schema": schema} if schema == RESULT_SCHEMA:
                return MigrationResult.from_data(data)
            case _:
                return None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{where} is not a result: {label(repr(error))}") from error


def unread(data: Any, kept: Any, where: str = "") -> str:
    """Return the first key in ``data`` (parsed JSON) that ``kept`` (a result) lacks; empty if none."""
    if isinstance(data, list):
        pairs = zip(data, kept, strict=False)
        return next((lost for each, other in pairs if (lost := unread(each, other, where))), "")
    if not isinstance(data, dict) or data == kept:
        return ""
    for key in data.keys() - {"schema", "version"}:
        if lost := key if key not in kept else unread(data[key], kept[key], f"{key}."):
            return where + lost
    return ""
