"""A result as it comes out of a file or an archive."""

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
"""that one command reads, or one archive holds"""

Result: TypeAlias = RunResult | MigrationResult


@dataclass(frozen=True, slots=True)
class Found:
    """One result, or one file that holds none."""

    folder: str
    """name of the folder the result file is in, or was in before it went into an archive"""
    file: str
    """its name, both fit for one line; no more, so that no path of a machine is published"""
    source: Path
    """the folder or archive it was read from"""
    result: Result | None
    """None: of another kind"""


def from_json(data: Any, where: str) -> Result | None:
    """Return the result in parsed JSON; None for another kind. Raises UsageError with ``where`` first."""
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
    """Return the first key of parsed JSON that a result, as a dictionary, lacks; empty: none."""
    if isinstance(data, list):
        pairs = zip(data, kept, strict=False)
        return next((lost for each, other in pairs if (lost := unread(each, other, where))), "")
    if not isinstance(data, dict) or data == kept:
        return ""
    for key in data.keys() - {"schema", "version"}:
        if lost := key if key not in kept else unread(data[key], kept[key], f"{key}."):
            return where + lost
    return ""
