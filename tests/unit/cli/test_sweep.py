"""``pagethrift sweep`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli.sweep import app
from pagethrift.errors import UsageError
from pagethrift.simulator.sweep import run_cell
from pagethrift.simulator.sweep_spec import read_spec
from pagethrift.trace.synthetic import Load
from tests.traces import made

SPEC = 'traces = ["idle.parquet"]\nbandwidths = ["1Gbit"]\n[[strategies]]\nname = "kvm-default"\n'


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    made(tmp_path, Load.IDLE)
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def finished(spec: Path, out: Path) -> None:
    """Leave what an earlier sweep would have left, so that no worker has to be started."""
    (out / "cells").mkdir(parents=True)
    for cell in read_spec(spec):
        (out / "cells" / f"{cell.key}.json").write_text(run_cell(cell))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.mark.slow
def test_a_sweep_by_a_worker(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(spec, "--out", out, "--workers", "1", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-2] == {"type": "progress", "cells": 1, "done": 1, "reused": 0, "failed": 0}
    assert lines[-1] == {"type": "result", "path": str(out / "results.parquet"), "cells": 1}
    assert pq.read_table(out / "results.parquet")["strategy"].to_pylist() == ["kvm-default"]


def test_programs_read_how_far_it_is_and_where_the_results_are(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(spec, out)
    done = call(spec, "--out", out, "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"type": "progress", "cells": 1, "done": 1, "reused": 1, "failed": 0},
        {"type": "result", "path": str(out / "results.parquet"), "cells": 1},
    ]


def test_people_read_one_line_and_no_bar_in_a_file(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(spec, tmp_path / "sweep")
    monkeypatch.chdir(tmp_path)
    done = call(spec)
    assert done.stdout == "sweep/results.parquet: 1 results\n"
    assert done.stderr == ""


def test_a_broken_specification_leaves_nothing_behind(spec: Path, tmp_path: Path) -> None:
    spec.write_text(SPEC.replace("kvm-default", "none"))
    with pytest.raises(UsageError, match="no strategy 'none'"):
        call(spec, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
