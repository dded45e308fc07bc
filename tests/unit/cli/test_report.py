"""``pagethrift report``: in which form, to which place, and of which runs."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli.common import left_out_line
from pagethrift.cli.report import app
from pagethrift.errors import UsageError
from pagethrift.report.tables import LEGEND
from tests.unit.report.samples import migration, result, write


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    write(
        folder,
        *(
            result(mode, seconds, i)
            for mode, seconds in (("pagethrift", 5.0), ("plain", 10.0))
            for i in range(3)
        ),
        result("plain", scenario="alone"),
    )
    (folder / "other.json").write_text("{}")
    return folder


def report(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def as_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report(*arguments, "--json").stdout)
    return found


def test_tables_are_what_a_terminal_gets(study: Path) -> None:
    done = report(study)
    headings = [line for line in done.stdout.splitlines() if line.startswith("### ")]
    assert headings == [
        "### pagethrift against the best of QEMU's own modes",
        "### TT of pagethrift / TT of each of QEMU's own modes",
        "### small", "### alone",
    ]  # fmt: skip
    assert done.stdout.endswith(f"{LEGEND}\n")
    assert done.stderr == "left out, no results of migrations: study/other.json\n"


@pytest.mark.slow
def test_a_file_gets_a_page_unless_tables_are_asked_for(study: Path, tmp_path: Path) -> None:
    page, tables = tmp_path / "new" / "report.html", tmp_path / "report.md"
    done = report(study, "--out", page, "--mode", "plain")
    assert done.stdout == ""
    assert page.read_text().startswith("<!doctype html>")
    assert "pagethrift report study" in page.read_text()
    report(study, "--out", tables, "--format", "md")
    assert tables.read_text() == report(study).stdout


def test_programs_get_rows_and_comparisons_by_scenario(study: Path) -> None:
    found = as_json(study)
    assert {name: [row["mode"] for row in rows] for name, rows in found["scenarios"].items()} == {
        "small": ["plain", "pagethrift"], "alone": ["plain"],
    }  # fmt: skip
    assert found["against_qemu"]["alone"] == {}
    (time,) = [
        each for each in found["against_qemu"]["small"]["pagethrift"] if each["measure"] == "total_time_s"
    ]
    assert (time["ratio"]["median"], time["pairs"], time["verdict"]) == (0.5, 3, "pagethrift wins")
    assert found["left_out"] == ["study/other.json"]
    assert report(study, "--json").stderr == ""


def test_modes_are_chosen_once_and_in_the_order_asked_for(study: Path) -> None:
    write(study / "more", result("thesis"))
    (study / "more" / "alone.json").write_text(migration("thesis").to_json())
    found = as_json(study, study / "more", "--mode", "thesis", "--mode", "pagethrift", "--mode", "thesis")
    rows = {name: [(row["mode"], row["runs"]) for row in rows] for name, rows in found["scenarios"].items()}
    assert rows["small"] == [("thesis", 1), ("pagethrift", 3)]
    assert "alone" not in rows


@pytest.mark.parametrize("option", ["--out", "--plots", "--chart"])
def test_a_place_that_cannot_be_written_is_named(study: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=rf"{tmp_path}/file/deeper\b.*: "):
        report(study, option, tmp_path / "file" / "deeper", "--format", "md")


@pytest.mark.long
@pytest.mark.slow
def test_ten_thousand_results_cost_no_more_than_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is read once; the statistics and the output are those of a thousand results."""
    calls: Counter[str] = Counter()

    def counted(home: str, name: str) -> None:
        module = import_module(home)
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return real(*arguments)

        monkeypatch.setattr(module, name, call)

    counted("pagethrift.results.find", "read_json")
    counted("pagethrift.report.estimate", "_bootstrap")
    counted("pagethrift.report.estimate", "_bootstrap_limit")
    found: list[tuple[Counter[str], int]] = []
    for count in (1_000, 10_000):
        folder = tmp_path / "study"  # the name is part of the output
        folder.mkdir(exist_ok=True)
        for number in range(count):
            mode, repetition = ("plain", "pagethrift")[number % 2], number // 2
            text = result(mode, 5.0 + number % 7, repetition, client=None).to_json()
            (folder / f"{number}.json").write_text(text)
        calls.clear()
        output = report(folder).stdout + report(folder, "--json").stdout
        assert calls.pop("read_json") == 2 * count
        found.append((Counter(calls), len(output)))
    (few_calls, few_characters), (many_calls, many_characters) = found
    assert many_calls == few_calls
    assert "_bootstrap" not in many_calls, "resampling"
    assert many_characters < few_characters + 1000


def test_a_thousand_foreign_files_are_a_short_line() -> None:
    assert left_out_line(["a/b.json"]) == "left out, no results of migrations: a/b.json"
    line = left_out_line([f"folder/{n}.json" for n in range(1000)])
    assert line.endswith("folder/4.json and 995 more")
    assert len(left_out_line(["x" * 200] * 1000)) < 300
