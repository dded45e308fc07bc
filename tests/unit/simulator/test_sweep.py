"""Sweeps: results as Parquet, resumed, and a worker killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pagethrift.errors import UsageError
from pagethrift.model.result import MigrationResult
from pagethrift.simulator import sweep, workers
from pagethrift.simulator.sweep import SweepProgress, collect, run_cell, run_sweep
from pagethrift.simulator.sweep_spec import read_spec
from tests.processes import worker_pids
from tests.traces import made, run


@pytest.mark.slow
def test_a_speed_for_each_bandwidth(spec: Path, tmp_path: Path) -> None:
    text = spec.read_text().replace("force_after", "speeds = [1, 10]\nforce_after").replace("uniform.", "*.")
    spec.write_text(text.replace('"20s"', '["20s", "2s"]'))
    cells = read_spec(spec)
    links = {(cell.bandwidth_bps, cell.speed, cell.force_after_s) for cell in cells}
    assert links == {(6_250_000, 1, 20), (12_500_000, 10, 2)}
    result = MigrationResult.from_json(run_cell(cells[-1]))
    assert result.warnings[0] == "scaled trace: the guest runs 10 times as fast as recorded"
    path = run_sweep(cells[-1:], tmp_path / "out", workers=1)
    assert pq.read_table(path)["speed"].to_pylist() == [10]


def test_a_cell_is_the_simulation_itself(spec: Path, tmp_path: Path) -> None:
    cell = next(cell for cell in read_spec(spec) if cell.strategy == "kvm-default")
    result = MigrationResult.from_json(run_cell(cell))
    assert result == run(made(tmp_path), "kvm-default", cell.bandwidth_bps, force_after_s=20.0)


@pytest.mark.slow
def test_two_workers_one_killed_then_resumed(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec.write_text(spec.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4, 5, 6, 7]"))
    cells = read_spec(spec)
    seen: list[SweepProgress] = []
    killed: list[int] = []

    def watch(progress: SweepProgress) -> None:
        seen.append(progress)
        pids = worker_pids()
        if progress.done == 2 and not killed:
            assert len(pids) == 2
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    path = run_sweep(cells, tmp_path / "out", workers=2, progress=watch)
    assert killed
    table = pq.read_table(path)
    assert table.num_rows == len(cells) == 16
    assert set(table["key"].to_pylist()) == {cell.key for cell in cells}
    assert seen[-1] == SweepProgress(16, 16, 0, 0)
    assert json.loads(table["result"][0].as_py())["simulated"]

    def no_client(*_: object) -> None:
        raise AssertionError("nothing is left to simulate")

    monkeypatch.setattr(sweep, "at_work", no_client)
    again: list[SweepProgress] = []
    assert pq.read_table(run_sweep(cells, tmp_path / "out", progress=again.append)) == table
    assert again == [SweepProgress(16, 16, 16, 0)]


@pytest.mark.slow
def test_a_cell_that_fails_leaves_the_others(spec: Path, tmp_path: Path) -> None:
    cells = read_spec(spec)[:2]
    out = tmp_path / "out"
    (tmp_path / "uniform.parquet").unlink()
    with pytest.raises(UsageError, match="2 of 2 cells failed"):
        run_sweep(cells, out, workers=1)
    assert pq.read_table(collect(cells, out)).num_rows == 0


def test_nobody_at_the_scheduler(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CONNECT", "200ms")
    with pytest.raises(UsageError, match="no answer"):
        run_sweep(read_spec(spec), tmp_path / "out", scheduler="tcp://127.0.0.1:9")
