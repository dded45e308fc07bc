"""Following a migration: its progress, the link's changes, and an end in any case."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.hosts.processes import Process, ProcessGroup
from pagethrift.lab.hosts.usage import Usage
from pagethrift.lab.journey import Journey
from pagethrift.model.run_result import LinkChange

PROGRESS = json.dumps({"type": "progress", "elapsed_s": 5.0})
RESULT = json.dumps({"type": "result"})


class Recorder:
    """Runs a shell script as the migration and keeps what the journey did."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.rates: list[int | None] = []
        self.shown: list[Mapping[str, Any]] = []
        self.usage = Usage(group.start(["sleep", "60"], name="source"), {})

    def journey(self, script: str, *changes: LinkChange) -> Journey:
        process: Process = self.group.start(["sh", "-c", script], name="migrate", stdout=subprocess.PIPE)
        return Journey(process, changes, self.rates.append, self.usage, self.shown.append)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    with ProcessGroup(tmp_path) as group:
        yield Recorder(group)


def test_progress_is_shown_and_other_lines_are_not(recorder: Recorder) -> None:
    recorder.journey(f"echo note; echo '{PROGRESS}'; echo '{RESULT}'").follow(30)
    assert recorder.shown == [json.loads(PROGRESS)]
    assert recorder.usage.peak_rss_bytes["source"] > 0


def test_changes_come_in_order_counted_from_the_begin(recorder: Recorder) -> None:
    # The first progress says that 5 s have passed: the first two changes are due, the last is an hour off.
    changes = (LinkChange(1.0, 10), LinkChange(5.0, None), LinkChange(3600.0, 30))
    recorder.journey(f"echo '{PROGRESS}'; sleep 0.2; echo '{RESULT}'", *changes).follow(30)
    assert recorder.rates == [10, None]


def test_a_change_comes_also_while_the_migration_is_silent(recorder: Recorder) -> None:
    journey = recorder.journey(f"echo '{PROGRESS}'; sleep 0.5; echo '{RESULT}'", LinkChange(5.1, 10))
    journey.follow(30)
    assert recorder.rates == [10]


def test_before_the_begin_nothing_changes(recorder: Recorder) -> None:
    recorder.journey("sleep 0.2", LinkChange(0.0, 10)).follow(30)
    assert recorder.rates == []


def test_a_silent_migration_is_given_up(recorder: Recorder) -> None:
    with pytest.raises(LabError, match=r"did not end within 0 s: stuck"):
        recorder.journey("echo stuck >&2; sleep 60").follow(0.3)


def test_a_failure_is_told_in_the_migrations_words(recorder: Recorder) -> None:
    journey = recorder.journey("echo 'pagethrift: destination: no room' >&2; exit 4")
    with pytest.raises(LabError, match=r"^the migration failed: destination: no room$"):
        journey.follow(30)


def test_a_relay_that_closes_its_output_and_stays_is_an_error(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagethrift.lab.journey._CLEAN_UP_S", 0.1)
    journey = recorder.journey(f"exec {sys.executable} -c 'import os, time; os.close(1); time.sleep(60)'")
    with pytest.raises(LabError, match="still runs"):
        journey.follow(30)
