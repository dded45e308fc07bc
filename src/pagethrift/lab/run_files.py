"""Reading and writing the result files of lab runs; a file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from pagethrift.errors import LabError, UsageError
from pagethrift.given_file import read_json
from pagethrift.model.run_result import RunResult
from pagethrift.results.result import LARGEST_RESULT_BYTES, from_json
from pagethrift.whole_file import write_text


def write_run(result: RunResult, path: Path) -> None:
    """Write a result file. Raises LabError."""
    try:
        write_text(path, result.to_json())
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error


def read_run(path: Path) -> RunResult:
    """Read a result file. Raises UsageError."""
    result = from_json(read_json(path, LARGEST_RESULT_BYTES), str(path))
    if not isinstance(result, RunResult):
        raise UsageError(f"{path} is not the result of a lab run; move it away or choose another folder")
    return result
