"""The project's own results, which are kept as archives, for tests that need them as files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pagethrift.lab.run_files import write_run
from pagethrift.model.run_result import RunResult
from pagethrift.results.archive import read_archive

RESULTS = Path(__file__).parents[1] / "docs/results"


@cache
def runs(study: str) -> dict[str, RunResult]:
    """Return the lab runs of a study, by file name."""
    found = {each.file: each.result for each in read_archive(RESULTS / f"{study}.parquet", histograms=True)}
    return {name: result for name, result in found.items() if isinstance(result, RunResult)}


def unpack(study: str, folder: Path) -> None:
    """Write the lab runs of a study into a folder, as ``pagethrift lab compare`` left them."""
    for name, result in runs(study).items():
        write_run(result, folder / name)
