"""Reading and writing the result files of lab runs; a file is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from pagethrift.errors import LabError, UsageError
from pagethrift.model.run_result import RunResult


def write_run(result: RunResult, path: Path) -> None:
    """Write a result file. Raises LabError."""
    draft = path.with_suffix(".part")
    try:
        draft.write_text(result.to_json())
        draft.replace(path)
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error


def read_run(path: Path) -> RunResult:
    """Read a result file. Raises UsageError."""
    try:
        return RunResult.from_data(json.loads(path.read_text()))
    except (OSError, ValueError, UsageError) as error:
        raise UsageError(f"cannot read run result {path}: {error}") from error
