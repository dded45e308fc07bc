"""Folders of files: what is read, what is left out, what is refused in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.given_file import read_json
from pagethrift.report.load import load
from pagethrift.report.runs import NO_CLIENT
from pagethrift.results import find
from pagethrift.results.archive import write_archive
from pagethrift.results.result import from_json
from tests.archives import RESULTS
from tests.unit.report.samples import change, client, memcaslap, migration, result, write


def test_runs_and_plain_results_are_read_and_others_named(tmp_path: Path) -> None:
    write(tmp_path, result())
    (tmp_path / "migration.json").write_text(migration("pagethrift").to_json())
    (tmp_path / "other.json").write_text('{"rows": []}')
    loaded = load([tmp_path, tmp_path])
    assert [(run.scenario, run.mode) for run in loaded.runs] == [
        ("small", "plain"),
        (NO_CLIENT, "pagethrift"),
    ]
    assert loaded.left_out == (f"{tmp_path.name}/other.json",)


def test_an_archive_is_the_folder_it_was_packed_from(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write(study, result(), result("pagethrift"))
    (study / "migration.json").write_text(migration("thesis").to_json())
    alone = load([study])
    results = [(path.name, from_json(read_json(path), "")) for path in sorted(study.glob("*.json"))]
    write_archive([(name, each) for name, each in results if each], "study", tmp_path / "kept.parquet")
    packed = load([tmp_path / "kept.parquet"])
    assert [replace(run, call="") for run in packed.runs] == [replace(run, call="") for run in alone.runs]
    assert len({run.call for run in packed.runs}) == 1
    shutil.copy(RESULTS / "all-rows.parquet", tmp_path)
    write(tmp_path, result("thesis"))
    both = load([tmp_path])
    assert [run.mode for run in both.runs] == ["thesis", "plain", "pagethrift", "thesis"]
    assert both.left_out == (f"{tmp_path.name}/all-rows.parquet",)
    with pytest.raises(UsageError, match="no result files"):
        load([tmp_path / "all-rows.parquet"])


def test_a_folder_of_json_needs_no_pyarrow(tmp_path: Path) -> None:
    write(tmp_path, result())
    code = (
        "import sys; from pathlib import Path; from pagethrift.cli.report import report;"
        " report([Path(sys.argv[1])]); print(sorted({'pyarrow', 'hdrh'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "| plain | 1 |" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_impossible_numbers_in_an_archive_name_the_run(tmp_path: Path) -> None:
    write_archive([("one.json", result(lost_requests=-1))], "study", tmp_path / "kept.parquet")
    with pytest.raises(UsageError, match=r"kept\.parquet: one\.json: lost_requests"):
        load([tmp_path])


def test_keys_of_newer_writers_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, result())
    change(
        tmp_path / "00.json", something_new=1, cpu_s={"vcpu": 2.5, "more": "x"}, dirty_rate_bytes_per_s=1000
    )
    (run,) = load([tmp_path]).runs
    assert run.further == {"cpu_s.vcpu": 2.5, "dirty_rate_bytes_per_s": 1000}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema": "pagethrift-run", "version": 9}', "of version 1"),
        ('{"schema": "pagethrift.migration-result", "version": 9}', "version 9"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        load([tmp_path])
    assert "bad.json" in str(caught.value)


@pytest.mark.parametrize("value", [-1, "long", None, True, float("nan"), 10**30])
def test_impossible_numbers_are_refused(tmp_path: Path, value: object) -> None:
    write(tmp_path, result(migration=migration(total_time_s=value)))
    with pytest.raises(UsageError, match="total_time_s"):
        load([tmp_path])


@pytest.mark.parametrize("series", [{"interval_s": 0}, {"operations": [1]}, {"p50_ms": ["x"] * 20}, []])
def test_impossible_series_are_refused(tmp_path: Path, series: object) -> None:
    whole = client()["series"]
    write(tmp_path, result(client=client(series=whole | series if isinstance(series, dict) else series)))
    with pytest.raises(UsageError, match=r"client\.series"):
        load([tmp_path])


@pytest.mark.parametrize("series", [{"mean_ms": [1.0]}, {"mean_ms": None}, {"max_ms": ["x"] * 15}, []])
def test_impossible_memcaslap_series_are_refused(tmp_path: Path, series: object) -> None:
    broken = memcaslap(**series) if isinstance(series, dict) else series
    write(tmp_path, result(client=client(memcaslap=broken)))
    with pytest.raises(UsageError, match=r"client\.memcaslap"):
        load([tmp_path])


@pytest.mark.parametrize("changes", [{"phases": 5}, {"series": client()["series"] | {"interval_s": 1e-300}}])
def test_clients_that_cannot_be_drawn_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write(tmp_path, result(client=client(**changes)))
    with pytest.raises(UsageError, match=r"client\."):
        load([tmp_path])


def test_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "LARGEST_RESULT_BYTES", 100)
    write(tmp_path, result())
    with pytest.raises(UsageError, match="larger than"):
        load([tmp_path])


def test_command_ends_with_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pagethrift", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no result files" in done.stderr
    assert len(done.stderr.splitlines()) == 1
