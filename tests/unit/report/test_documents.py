"""The tables of README and docs are what the commands named beside them print of the result files."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.studies import grid, table
from typer.testing import CliRunner

from pagethrift.cli.report import app

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs/results"
MEASURES = 14
"""bars in a row of the table of all measures"""


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


def reported(folder: str) -> list[str]:
    done = CliRunner().invoke(app, [str(RESULTS / folder)])
    assert done.exit_code == 0, done.output
    return rows_of(done.stdout)


@pytest.mark.parametrize(
    ("document", "folder"),
    [("README.md", "demo"), ("docs/studies.md", "thesis"), ("docs/lab.md", "demo-small-pages")],
    ids=lambda name: name,
)
def test_the_measures_of_one_scenario(document: str, folder: str) -> None:
    told = set(rows_of((ROOT / document).read_text()))
    found = [row for row in reported(folder) if row.count("|") == MEASURES]
    assert len(found) == 2 + 4  # heading, rule and four ways
    assert [row for row in found if row not in told] == []


@pytest.mark.slow
def test_the_comparison_and_its_summary() -> None:
    found = reported("comparison")
    assert found == rows_of((ROOT / "docs/comparison.md").read_text())
    begin = next(n for n, row in enumerate(found) if "auto-converge" in row and row.startswith("| scenario"))
    ratios = found[begin : begin + 7]
    told = rows_of((ROOT / "README.md").read_text())
    assert [row for row in ratios if row not in told] == []


def test_the_strategies_of_the_literature() -> None:
    assert reported("literature") == rows_of((ROOT / "docs/literature.md").read_text())


def test_every_strategy_on_every_trace(capsys: pytest.CaptureFixture[str]) -> None:
    table.main([str(RESULTS / "all-rows.parquet")])
    found = rows_of(capsys.readouterr().out)
    assert len(found) > 462
    assert found == rows_of((ROOT / "docs/all-rows.md").read_text())


def test_parameters_and_stop_rules(capsys: pytest.CaptureFixture[str]) -> None:
    table.main(["--over-traces", str(RESULTS / "parameters.parquet")])
    assert rows_of(capsys.readouterr().out) == rows_of((ROOT / "docs/parameters.md").read_text())
    table.main(["--over-traces", str(RESULTS / "all-rows.parquet")])
    slow_link = capsys.readouterr().out.split("## 1 Gbit/s")[0]
    told = rows_of((ROOT / "docs/studies.md").read_text())
    assert [row for row in rows_of(slow_link) if row not in told] == []


@pytest.mark.parametrize("name", ["faithful", "faithful-comparison"])
def test_the_simulator_against_live_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    grid.main([str(RESULTS / f"{name}.json")])
    told = rows_of((ROOT / "docs/studies.md").read_text())
    found = rows_of(capsys.readouterr().out)
    assert len(found) > 15
    assert [row for row in found if row not in told] == []
