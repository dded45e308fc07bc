"""Folders of result files to runs; what is not ours is named, what is broken is an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.model.result import RESULT_SCHEMA, MigrationResult
from pagethrift.model.run_result import RUN_SCHEMA, RunResult
from pagethrift.report.runs import Run, from_migration, from_run_result, label

LARGEST_FILE_BYTES = 32 << 20
"""a run of an hour with ten intervals a second is 2 MB"""
MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found."""

    runs: tuple[Run, ...]
    """in order of file name"""
    left_out: tuple[str, ...]
    """JSON files of another kind"""


def load(paths: Iterable[Path]) -> Loaded:
    """Read all result files in folders (or single files).

    Raises UsageError that names the file when one is not JSON, too large, of a version this
    pagethrift does not read or has an impossible value, and when there is none.
    """
    paths = list(paths)
    runs: list[Run] = []
    left_out: list[str] = []
    for number, path in enumerate(_files(paths)):
        if number == MOST_FILES:
            raise UsageError(f"more than {MOST_FILES} JSON files; name fewer folders")
        run = _read(path, number)
        if run is None:
            left_out.append(label(f"{path.parent.name}/{path.name}"))
        else:
            runs.append(run)
    if not runs:
        where = ", ".join(map(str, paths))
        raise UsageError(f"no result files in {where}; make some with pagethrift lab run")
    return Loaded(tuple(runs), tuple(left_out))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no {path}")
        for file in [path] if path.is_file() else sorted(path.glob("*.json")):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _read(path: Path, number: int) -> Run | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE_BYTES:
        raise UsageError(f"{path} is larger than {LARGEST_FILE_BYTES >> 20} MiB: not a result file")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {label(error)}") from error
    try:
        return _run(data, path, number)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a result file: {label(repr(error))}") from error


def _run(data: Any, path: Path, number: int) -> Run | None:
    # resolved, so that "." has a name too; the name alone, so that no path of a machine is published
    folder, file = label(path.resolve().parent.name), label(path.name)
    match data:
        case {"schema": schema} if schema == RUN_SCHEMA:
            run = from_run_result(RunResult.from_data(data), folder, file)
        case {"schema": schema} if schema == RESULT_SCHEMA:
            run = from_migration(MigrationResult.from_json(json.dumps(data)), number, folder, file)
        case _:
            return None
    return replace(run, call=str(path.resolve().parent))
