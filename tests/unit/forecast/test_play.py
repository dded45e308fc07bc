"""One simulated migration of a forecast is that of ``pagethrift simulate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.forecast.candidates import candidates
from pagethrift.forecast.play import PAYLOAD_SHARE, Task, play
from pagethrift.trace.synthetic import Load
from tests.traces import made, run

DEFAULT, THIN, PLAIN = candidates(1000)[:3]


@pytest.mark.parametrize(("candidate", "row"), [(THIN, "pagethrift"), (PLAIN, "kvm-default")])
def test_it_is_simulated_as_it_would_run(tmp_path: Path, candidate: object, row: str) -> None:
    trace = made(tmp_path, Load.COUNTERS)
    task = Task(THIN if candidate is THIN else PLAIN, 12.5e6, 2.0, 0.3, 60.0)
    found = play(trace, task)
    alike = run(
        trace, row, 12.5e6 * PAYLOAD_SHARE, as_live=True, warm_up_s=2.0, give_up_s=60.0,
        compress=task.candidate.compress,
    )  # fmt: skip
    assert (found.total_time_s, found.downtime_s) == (alike.total_time_s, alike.downtime_s)
    assert found.data_bytes == alike.first_round_bytes + alike.retransferred_bytes
    assert found.converged
    assert found.used_pages == pytest.approx(4096)
    assert found.compressed_pages == 0


def test_compressed_pages_count_apart(tmp_path: Path) -> None:
    found = play(made(tmp_path, Load.IDLE), Task(DEFAULT, 12.5e6, 0.0, 0.3, 60.0))
    assert found.compressed_pages > 0
    assert found.content_pages + found.compressed_pages == 4096


def test_forced_and_given_up(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.UNIFORM, writes_per_s=20_000.0)
    task = Task(PLAIN, 6e6, 0.0, 0.3, 10.0)
    lost = play(trace, task)
    assert (lost.completed, lost.converged) == (False, False)
    forced = play(trace, replace(task, force_after_s=5.0))
    assert (forced.completed, forced.converged) == (True, False)
    assert forced.total_time_s > 5.0
