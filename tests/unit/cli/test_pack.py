"""``pagethrift pack``: what it keeps, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli.pack import app
from pagethrift.cli.report import app as report
from pagethrift.errors import UsageError
from tests.archives import unpack
from tests.unit.report.samples import change, migration, result, write


def pack(folder: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [str(folder), "--out", str(out), *arguments])


def test_the_demo_packed_is_reported_as_it_was(tmp_path: Path) -> None:
    folder, out = tmp_path / "demo", tmp_path / "kept.parquet"
    folder.mkdir()
    unpack("demo", folder)
    (folder / "other.json").write_text("{}")
    done = pack(folder, out)
    assert done.exit_code == 0, done.output
    assert f"{out}: 8 results, " in done.stdout
    assert "left out, no results of migrations: other.json" in done.stderr
    said = [CliRunner().invoke(report, [str(each), "--json"]).stdout for each in (folder, out)]
    before, after = (json.loads(text) for text in said)
    assert before["scenarios"] == after["scenarios"]
    assert out.stat().st_size < sum(path.stat().st_size for path in folder.iterdir()) / 2.5


def test_programs_read_sizes(tmp_path: Path) -> None:
    write(tmp_path / "study", result())
    (tmp_path / "study/migration.json").write_text(migration().to_json())
    out = tmp_path / "study.parquet"
    said = json.loads(pack(tmp_path / "study", out, "--json").stdout)
    assert said["results"] == 2
    assert said["bytes"] == out.stat().st_size
    assert said["before_bytes"] == sum(path.stat().st_size for path in (tmp_path / "study").iterdir())


@pytest.mark.parametrize("where", ["newer", "migration.newer", "migration.rounds.newer"])
def test_what_this_pagethrift_does_not_read_is_not_dropped(tmp_path: Path, where: str) -> None:
    write(tmp_path / "study", result())
    path = tmp_path / "study/00.json"
    migrated = json.loads(path.read_text())["migration"]
    places = {"newer": {}, "migration.newer": migrated, "migration.rounds.newer": migrated["rounds"][1]}
    places[where]["newer"] = 1
    change(path, migration=migrated, **places["newer"])
    done = pack(tmp_path / "study", tmp_path / "a.parquet")
    assert isinstance(done.exception, UsageError)
    assert f"{where} is unknown" in str(done.exception)
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize(
    ("folder", "out", "words"),
    [
        ("study", "a.json", "name the archive"),
        ("none", "a.parquet", "not a folder"),
        (".", "a.parquet", "no result files"),
    ],
)
def test_one_line_says_what_to_do(tmp_path: Path, folder: str, out: str, words: str) -> None:
    write(tmp_path / "study", result())
    done = pack(tmp_path / folder, tmp_path / out)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)
