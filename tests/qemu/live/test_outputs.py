"""Results and logs that cannot be written; numbers are those of docs/faults.md."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess

import pytest

from pagethrift.live.migrate import migrate
from pagethrift.live.watch import Progress
from pagethrift.model.result import Outcome
from tests.qemu.live.pair import After, Pair
from tests.qemu.live.test_guest_runs_once import command, runs_once


def test_11_a_result_that_cannot_be_written_is_a_warning(pair: Pair) -> None:
    folder = pair.folder / "results"
    folder.mkdir()

    def remove(_: Progress) -> None:
        with contextlib.suppress(OSError):
            folder.rmdir()

    options = pair.options(result_path=folder / "r.json")
    result = asyncio.run(migrate(options, remove, After(round=1)))
    assert result.outcome is Outcome.COMPLETED
    assert any("could not be written" in warning for warning in result.warnings)


@pytest.mark.parametrize("option", ["--out", "--facts-log"])
def test_11_paths_are_checked_before_anything_moves(pair: Pair, option: str) -> None:
    done = subprocess.run(
        command(pair, option, str(pair.folder)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"pagethrift: {option} {pair.folder}: is a folder; name a file in it\n"
    assert runs_once(pair) == "source"


def test_11_a_facts_log_on_a_disk_that_fills(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, facts: object, decision: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pagethrift.trace.facts_log.FactsWriter.add", full)
    options = pair.options(facts_log=pair.folder / "facts")
    result = asyncio.run(migrate(options, decider=After(round=1)))
    assert result.outcome is Outcome.COMPLETED
    assert "the facts log ends early: No space left on device" in result.warnings
    assert runs_once(pair) == "destination"


def test_11_a_relay_folder_that_is_not_there(pair: Pair) -> None:
    done = subprocess.run(
        command(pair, "--relay-folder", "/nonexistent"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("pagethrift: --relay-folder /nonexistent: ")
    assert done.stderr.count("\n") == 1
