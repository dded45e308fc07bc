"""Which runs a comparison does, in which order, and what it keeps of an earlier call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LabError, UsageError
from pagethrift.lab.compare import compare, plan
from pagethrift.lab.run import Event
from pagethrift.lab.run_files import read_run, write_run
from pagethrift.lab.scenario import parse_mode, read_scenario
from pagethrift.model.run_result import RunResult
from tests.archives import runs, unpack

DEMO = Path("scenarios/demo.toml")


def test_modes_alternate_and_checks_come_last() -> None:
    scenario = replace(
        read_scenario(DEMO),
        modes=(parse_mode("plain"), parse_mode("xen")),
        check_ram=(parse_mode("xen"),),
        repetitions=2,
    )
    order = [(run.mode.name, run.repetition, run.check_ram) for run in plan(scenario)]
    assert order == [
        ("plain", 0, False), ("xen", 0, False), ("xen", 1, False), ("plain", 1, False), ("xen", 0, True),
    ]  # fmt: skip


def test_runs_with_a_result_are_kept(tmp_path: Path) -> None:
    unpack("demo", tmp_path)
    events: list[Event] = []
    results = compare(read_scenario(DEMO), tmp_path, events.append)
    assert [event.stage for event in events] == ["kept"] * 6
    assert sum(result.ram is not None for result in results) == 1


def test_results_of_another_bandwidth_are_refused(tmp_path: Path) -> None:
    unpack("demo", tmp_path)
    scenario = read_scenario(DEMO)
    other = replace(scenario, link=replace(scenario.link, bandwidth_bps=1_000_000))
    with pytest.raises(UsageError, match="another bandwidth"):
        compare(other, tmp_path, lambda event: None)


@pytest.mark.parametrize("change", [{"force_after_s": 3.0}, {"qemu": "7.2"}, {"downtime_limit_s": 1.0}])
def test_results_of_other_settings_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    scenario = replace(read_scenario(DEMO), modes=(parse_mode("plain"),), check_ram=())
    (path,) = [each.path(tmp_path, scenario.name) for each in plan(scenario)]
    kept = runs("demo")[path.name]
    write_run(replace(kept, settings_digest=scenario.digest), path)
    assert len(compare(replace(scenario, description="told better"), tmp_path, lambda event: None)) == 1
    with pytest.raises(UsageError, match="other settings"):
        compare(replace(scenario, **change), tmp_path, lambda event: None)


def test_a_result_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    result = next(iter(runs("demo").values()))
    with pytest.raises(LabError, match="cannot write"):
        write_run(result, tmp_path / "none" / "run.json")
    write_run(result, tmp_path / "run.json")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_time_left_counts_what_has_no_result_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = read_scenario(DEMO)
    unpack("demo", tmp_path)
    kept = {each.mode.name: read_run(each.path(tmp_path, scenario.name)) for each in plan(scenario)}
    for each in plan(scenario)[1:]:
        each.path(tmp_path, scenario.name).unlink()
    now_s = 0.0

    def run(*arguments: object) -> RunResult:
        nonlocal now_s
        now_s += 60.0
        return kept["plain"]

    monkeypatch.setattr("pagethrift.lab.compare.time.monotonic", lambda: now_s)
    monkeypatch.setattr("pagethrift.lab.compare.run", run)
    monkeypatch.setattr("pagethrift.lab.compare.require_rights", lambda: None)
    events: list[Event] = []
    compare(scenario, tmp_path, events.append)
    said = [event.detail.partition(", ")[2] for event in events if event.stage == "run"]
    assert said == [
        "",
        *(f"demo takes about {left} min more" for left in (4, 3, 2)),
        "demo takes another minute",
    ]
