"""The chart: every mode with its numbers, in colours for light and dark pages."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from pagethrift.cli.report import app
from pagethrift.errors import UsageError
from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.units import format_seconds
from tests.documents import ROOT

RESULTS = ROOT / "docs/results"
FIGURES = ROOT / "docs/figures"
MOST_BYTES = 60_000
SHOWN = ("plain", "xbzrle:512MiB", "multifd-zstd", "pagethrift")


def drawn(folder: Path, results: Path, *modes: str) -> str:
    file = folder / "chart.svg"
    arguments = [str(results), "--chart", str(file), *(word for mode in modes for word in ("--mode", mode))]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return file.read_text()


def words(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [e.text or "" for e in root.iter() if e.tag.endswith(("}text", "}title", "}desc"))]


def results(name: str) -> Path:
    """Return a study's results, whichever form they are kept in."""
    table = RESULTS / f"{name}.parquet"
    return table if table.exists() else RESULTS / name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "modes"), [("demo", ()), ("comparison", SHOWN)])
def test_the_charts_shown_are_of_the_result_files(tmp_path: Path, name: str, modes: tuple[str, ...]) -> None:
    shown = (FIGURES / f"{name}.svg").read_text()
    assert words(shown) == words(drawn(tmp_path, results(name), *modes))
    assert len(shown) < MOST_BYTES


def test_every_mode_has_its_numbers(tmp_path: Path) -> None:
    said = words(drawn(tmp_path, results("demo")))
    found = [each.result for each in find([results("demo")])]
    for mode, shown in (
        ("plain", "QEMU plain"),
        ("xbzrle:512MiB", "QEMU xbzrle:512MiB"),
        ("thesis", "thesis"),
    ):
        (run,) = [each for each in found if isinstance(each, RunResult) and each.mode == mode]
        forced = "" if run.migration.converged else ", forced"
        assert shown in said
        assert format_seconds(run.migration.total_time_s) + forced in said
        assert format_seconds(run.migration.downtime_s or 0) in said
    assert "pagethrift" in said
    assert "Downtime (allowed: 300 ms)" in said


def test_modes_can_be_chosen_and_ordered(tmp_path: Path) -> None:
    said = words(drawn(tmp_path, results("demo"), "pagethrift", "thesis"))
    assert [text for text in said if text in ("pagethrift", "thesis", "QEMU plain")] == [
        "pagethrift",
        "thesis",
    ]
    with pytest.raises(UsageError, match=r"no run in mode 'fast'; these modes have runs: multifd"):
        drawn(tmp_path, results("demo"), "fast")


def test_it_stands_on_light_and_dark_pages(tmp_path: Path) -> None:
    svg = drawn(tmp_path, results("demo"))
    assert "prefers-color-scheme:dark" in svg
    assert re.search(r'<rect class="paper"', svg)
    # No ink of a fixed colour: it would vanish on the other paper.
    body = svg.partition("</style>")[2]
    assert "#0b0c0d" not in body
    assert "#000000" not in body
