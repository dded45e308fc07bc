"""Finding results in folders, files and archives; other files are reported, broken ones are errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.given_file import read_json
from pagethrift.results.label import label
from pagethrift.results.result import LARGEST_RESULT_BYTES, MOST_RESULTS, Found, from_json

ARCHIVE_SUFFIX = ".parquet"


def find(paths: Iterable[Path], histograms: bool = False) -> Iterator[Found]:
    """Read all results in files, archives and folders of both, each file once, in order of file name.

    Without ``histograms``, results from archives have null for them, and hdrhistogram is not needed.
    Raises UsageError that names the file when a file is missing, broken, too large or of a version this
    pagethrift does not read. Raises UsageError for too many results.
    """
    for number, found in enumerate(_found(paths, histograms)):
        if number == MOST_RESULTS:
            raise UsageError(f"more than {MOST_RESULTS} results; name fewer folders")
        yield found


def _found(paths: Iterable[Path], histograms: bool) -> Iterator[Found]:
    for path in _files(paths):
        if path.suffix == ARCHIVE_SUFFIX:
            # imported here: JSON needs no pyarrow, which takes longer to load than a folder to read
            from pagethrift.results.archive import read_archive

            yield from read_archive(path, histograms)
        else:
            yield _from_file(path)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        try:
            there = path.exists()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if not there:
            raise UsageError(f"{path} does not exist")
        inside = sorted(each for each in path.glob("*") if each.suffix in (".json", ARCHIVE_SUFFIX))
        for file in [path] if path.is_file() else inside:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _from_file(path: Path) -> Found:
    # resolved, so that "." too has a name
    folder = path.resolve().parent
    return Found(
        label(folder.name),
        label(path.name),
        folder,
        from_json(read_json(path, LARGEST_RESULT_BYTES), str(path)),
    )
