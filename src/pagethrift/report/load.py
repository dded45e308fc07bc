"""Reading result files as runs: other files are reported, broken ones are errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.model.run_result import RunResult
from pagethrift.report.runs import Run, from_migration, from_run_result
from pagethrift.results.find import find
from pagethrift.results.label import label
from pagethrift.results.result import Found, Result


@dataclass(frozen=True, slots=True)
class Loaded:
    """The runs that were found, and the files that were left out."""

    runs: tuple[Run, ...]
    """in order of file name"""
    left_out: tuple[str, ...]
    """files of another kind"""


def load(paths: Iterable[Path]) -> Loaded:
    """Read all results in folders, archives and single files.

    Raises UsageError that names the file when a file is broken, too large, of a version this
    pagethrift does not read, or has an impossible value. Raises UsageError when no result is found.
    """
    paths = list(paths)
    runs: list[Run] = []
    left_out: list[str] = []
    for number, found in enumerate(find(paths)):
        if found.result is None:
            left_out.append(label(f"{found.folder}/{found.file}"))
        else:
            runs.append(_run(found, found.result, number))
    if not runs:
        where = ", ".join(map(str, paths))
        raise UsageError(f"no result files in {where}; make some with pagethrift lab run")
    return Loaded(tuple(runs), tuple(left_out))


def _run(found: Found, result: Result, number: int) -> Run:
    where = f"{found.source}: {found.file}"
    try:
        if isinstance(result, RunResult):
            run = from_run_result(result, found.folder, found.file)
        else:
            run = from_migration(result, number, found.folder, found.file)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{where} is not a result: {label(repr(error))}") from error
    return replace(run, call=str(found.source))
