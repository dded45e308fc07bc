"""``pagethrift lab compare`` on runs that are done: what it prints and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagethrift.cli.lab import app
from pagethrift.errors import LabError, UsageError
from pagethrift.lab.run import Event, Show
from pagethrift.lab.run_files import write_run
from pagethrift.lab.scenario import Scenario
from pagethrift.model.run_result import DiskCheck, RunResult
from tests.archives import runs

DEMO = "demo.plain.00.json"
SOUND = DiskCheck(
    fsck_clean=True, files_checked=200, files_wrong=0, files_written=300, written_during_bytes=1
)


def compare(folder: Path, disk: DiskCheck | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Compare one run whose result file says that of its disk."""
    (folder / "demo.toml").write_text('name = "demo"\n[migration]\nmodes = ["plain"]\n')
    result = replace(runs("demo")[DEMO], disk=disk, settings_digest="")
    write_run(result, folder / DEMO)
    command = [sys.executable, "-m", "pagethrift", "lab", "compare", str(folder / "demo.toml")]
    return subprocess.run(
        [*command, "--out", str(folder), *arguments], capture_output=True, text=True, check=False
    )


def test_a_sound_disk_is_told(tmp_path: Path) -> None:
    done = compare(tmp_path, SOUND)
    assert done.returncode == 0
    assert "disk checked (plain): file system clean, 0 wrong of 200 files" in done.stdout


@pytest.mark.parametrize(
    "disk", [DiskCheck(False, 200, 0, 300, 1), DiskCheck(True, 200, 1, 300, 1), DiskCheck(True, 0, 0, 0, 1)]
)
def test_a_damaged_disk_is_an_error(tmp_path: Path, disk: DiskCheck) -> None:
    done = compare(tmp_path, disk)
    assert done.returncode == 6
    assert "pagethrift: the shared disk is damaged" in done.stderr


def test_failed_runs_are_told_and_end_with_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_fails(scenario: Scenario, folder: Path, show: Show) -> list[RunResult]:
        show(Event("failed", "2/2 plain: no guest in [/tmp/x]"))
        return [runs("demo")[DEMO]]

    monkeypatch.setattr("pagethrift.cli.lab.compare", one_fails)
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\n')
    files = [str(tmp_path / f"{name}.toml") for name in ("a", "b")]
    done = CliRunner().invoke(app, ["compare", *files, "--out", str(tmp_path)])
    assert isinstance(done.exception, LabError)
    assert "2 of 2 scenarios had failures" in str(done.exception)
    done = CliRunner().invoke(app, ["compare", files[0], "--out", str(tmp_path)])
    assert "1 runs failed; repeat the command to try them again" in str(done.exception)
    done = CliRunner().invoke(app, ["compare", files[0], files[0], "--out", str(tmp_path)])
    assert isinstance(done.exception, UsageError)


def test_programs_read_the_disks_too(tmp_path: Path) -> None:
    done = compare(tmp_path, SOUND, "--json")
    assert json.loads(done.stdout)["disks"] == [{"mode": "plain", **asdict(SOUND)}]
    done = compare(tmp_path, None, "--json")
    assert json.loads(done.stdout)["disks"] == []
