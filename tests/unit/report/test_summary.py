"""Rows of modes and scenarios: what counts, what is named, what is in no median."""

from __future__ import annotations

from typing import Any

import pytest

from pagethrift.model.result import Outcome
from pagethrift.model.run_result import RamEquality
from pagethrift.report.summary import as_json, by_mode, by_scenario, further_measures, rows
from pagethrift.report.tables import markdown
from tests.unit.report.samples import migration, run


def test_forced_runs_count_and_are_named() -> None:
    forced = migration("plain", 30.0, converged=False, forced_at_s=20.0)
    (row,) = rows([run("plain", 10.0), run("plain", repetition=1, migration=forced)])
    assert (row.runs, row.converged) == (2, 1)
    assert row.convergence == "1 of 2 (forced at 20.0 s)"
    found = row.estimates["total_time_s"]
    assert found is not None
    assert (found.median, found.low, found.high) == (20.0, 10.0, 30.0)


def test_failed_runs_are_named_and_in_no_median() -> None:
    failed = migration("plain", 1.0, outcome=Outcome.FAILED, converged=False)
    (row,) = rows([run("plain", 10.0), run("plain", repetition=1, migration=failed)])
    assert row.convergence == "yes, 1 failed"
    found = row.estimates["total_time_s"]
    assert found is not None
    assert found.median == 10.0


def test_runs_that_compared_ram_are_not_timed() -> None:
    checked = run("pagethrift", 99.0, ram=RamEquality(4096, 0))
    (row,) = rows([run("pagethrift", 10.0), checked])
    assert row.runs == 1
    assert row.ram == "0 pages differ of 4.1 kB"
    assert "RAM compared (pagethrift): 0 pages differ" in markdown([row])


def test_links_are_told_apart() -> None:
    runs = [
        run("plain", 10.0, i, migration=migration(bandwidth_bps=rate)) for i, rate in enumerate((25e6, 50e6))
    ]
    assert list(by_scenario(runs)) == ["small, 200 Mbit/s", "small, 400 Mbit/s"]
    assert list(by_scenario(runs[:1])) == ["small"]


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (("yes", "yes"), "yes"),
        (("failed",), "no, 1 failed"),
        (("forced", "forced"), "no (forced at 20.0 s)"),
        (("yes", "forced", "failed"), "1 of 2 (forced at 20.0 s), 1 failed"),
    ],
)
def test_convergence_in_words(outcomes: tuple[str, ...], words: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "yes": {},
        "forced": {"converged": False, "forced_at_s": 20.0},
        "failed": {"converged": False, "outcome": Outcome.FAILED},
    }
    runs = [run(repetition=i, migration=migration(**changes[outcome])) for i, outcome in enumerate(outcomes)]
    (row,) = rows(runs)
    assert row.convergence == words


def test_a_mode_without_timed_runs_has_nothing_to_say() -> None:
    (row,) = rows([run(ram=RamEquality(8192, 1)), run(repetition=1, ram=RamEquality(4096, 2))])
    assert (row.runs, row.convergence, row.lost) == (0, "-", "-")
    assert (row.ram_compared_bytes, row.ram_differing_pages) == (8192, 3)


def test_lost_requests_are_added_up() -> None:
    (row,) = rows([run(lost_requests=2), run(repetition=1, lost_requests=3)])
    assert row.lost == "5"


def test_qemus_own_modes_come_first() -> None:
    runs = [run("thesis"), run("xbzrle"), run("pagethrift"), run("plain"), run("thesis")]
    assert [(mode, len(group)) for mode, group in by_mode(runs).items()] == [
        ("xbzrle", 1), ("plain", 1), ("thesis", 2), ("pagethrift", 1),
    ]  # fmt: skip
    first, *_ = rows(runs[:1])
    assert (first.relayed, first.strategy) == (True, "thesis")


def test_optional_measures_are_in_rows_and_json() -> None:
    runs = [run(cpu_s={"vcpu": 2.0}), run(repetition=1, dirty_rate_bytes_per_s=5)]
    names = ["cpu_s.vcpu", "dirty_rate_bytes_per_s"]
    assert [measure.key for measure in further_measures(runs)] == names
    (row,) = rows(runs)
    measures = as_json(row)["measures"]
    assert measures["cpu_s.vcpu"] == {"median": 2.0, "low": 2.0, "high": 2.0, "runs": 1, "spread": "none"}
    assert measures["relay_cpu_s"] is None
