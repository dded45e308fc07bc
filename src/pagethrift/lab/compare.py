"""Comparing modes: their order alternates, and every run has its own result file."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import PagethriftError, UsageError
from pagethrift.lab.hosts.namespaces import require_rights
from pagethrift.lab.run import Event, Show, run
from pagethrift.lab.run_files import read_run, write_run
from pagethrift.lab.scenario import ModeSpec, Scenario
from pagethrift.model.run_result import RunResult


@dataclass(frozen=True, slots=True)
class Planned:
    """One planned run."""

    mode: ModeSpec
    repetition: int
    check_ram: bool

    def path(self, folder: Path, scenario: str) -> Path:
        """Return the path of its result file."""
        kind = "ram-check" if self.check_ram else f"{self.repetition:02d}"
        name = self.mode.name.replace(":", "-").replace("=", "").replace(",", "-")
        return folder / f"{scenario}.{name}.{kind}.json"


def plan(scenario: Scenario) -> list[Planned]:
    """Return the runs in order: modes alternate, every second repetition backwards."""
    runs = []
    for repetition in range(scenario.repetitions):
        order = scenario.modes if repetition % 2 == 0 else scenario.modes[::-1]
        runs += [Planned(mode, repetition, False) for mode in order]
    return runs + [Planned(mode, 0, True) for mode in scenario.check_ram]


def compare(scenario: Scenario, folder: Path, show: Show) -> list[RunResult]:
    """Do all runs of a scenario that have no result file in ``folder`` yet; return all results.

    A run that fails is shown and left out, so that a later call tries it again. Raises the last
    failure when no run succeeded. Raises LabError before the first run when this user lacks the rights.
    """
    runs = plan(scenario)
    paths = [planned.path(folder, scenario.name) for planned in runs]
    kept = {path: _kept(path, scenario) for path in paths if path.exists()}
    if not all(planned.path(folder, scenario.name).exists() for planned in runs):
        require_rights()
    folder.mkdir(parents=True, exist_ok=True)
    results: list[RunResult] = []
    took_s: list[float] = []
    failure: PagethriftError | None = None
    for number, planned in enumerate(runs, 1):
        path = planned.path(folder, scenario.name)
        what = f"{number}/{len(runs)} {planned.mode.name}{' (RAM compared)' if planned.check_ram else ''}"
        if path in kept:
            show(Event("kept", what))
            results.append(kept[path])
            continue
        left = sum(not later.path(folder, scenario.name).exists() for later in runs[number - 1 :])
        show(Event("run", what + _time_left(scenario.name, took_s, left)))
        began_s = time.monotonic()
        try:
            result = run(scenario, planned.mode, planned.repetition, planned.check_ram, show)
        except PagethriftError as error:
            show(Event("failed", f"{what}: {error}"))
            failure = error
            continue
        took_s.append(time.monotonic() - began_s)
        write_run(result, path)
        results.append(result)
    if failure and not results:
        raise failure
    return results


def _time_left(scenario: str, took_s: Sequence[float], runs: int) -> str:
    if not took_s:
        return ""
    minutes = statistics.fmean(took_s) * runs / 60
    return f", {scenario} takes {'another minute' if minutes < 1.5 else f'about {minutes:.0f} min more'}"


def _kept(path: Path, scenario: Scenario) -> RunResult:
    result = read_run(path)
    same_link = result.migration.bandwidth_bps == scenario.link.bandwidth_bps
    if not same_link or (result.settings_digest or scenario.digest) != scenario.digest:
        what = "other settings" if same_link else "another bandwidth"
        raise UsageError(f"{path} was made with {what} in the scenario; choose another folder")
    return result
