"""Changing a running migration by the command: what reaches it, and what is refused before it is asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.relay_protocol import Change
from pagethrift.model.running import Running
from tests.unit.cli.test_top import run
from tests.unit.outside.sockets import status_socket, use

RUNNING = Running("one", pid=os.getpid(), guest="vm1", downtime_limit_s=0.5, bandwidth_cap_bps=12_500_000.0)


@pytest.fixture(autouse=True)
def state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(folder, monkeypatch)


def test_what_is_asked_and_what_is_said() -> None:
    asked: list[Change] = []
    with status_socket(RUNNING, asked.append):
        done = run("set", "vm1", "--downtime-limit", "500ms", "--bandwidth", "100Mbit")
        assert (done.returncode, done.stdout) == (0, "one: downtime limit 500 ms, bandwidth 100 Mbit/s\n")
        assert json.loads(run("set", "--bandwidth", "unlimited", "--json").stdout)["id"] == "one"
    assert asked == [Change(0.5, 12_500_000), Change(None, 0)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--downtime-limit", "0"], "must be positive"),
        (["--downtime-limit", "soon"], "is not a duration"),
        (["--downtime-limit", "-3s"], ""),
        (["--bandwidth", "0"], "is not a bandwidth"),
        (["--bandwidth", "fast"], "is not a bandwidth"),
        ([], "nothing to change"),
        (["other", "--bandwidth", "1Gbit"], "no migration 'other' runs here"),
    ],
)
def test_refused_before_anything_is_asked(arguments: list[str], said: str) -> None:
    asked: list[Change] = []
    with status_socket(RUNNING, asked.append):
        done = run("set", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert asked == []


def test_refused_by_the_migration_and_nothing_there() -> None:
    def refuse(change: Change) -> None:
        raise UsageError("nothing was changed: the switchover has begun")

    with status_socket(RUNNING, refuse):
        done = run("set", "--downtime-limit", "1s")
    assert (done.returncode, done.stderr) == (
        2,
        "pagethrift: nothing was changed: the switchover has begun\n",
    )
    assert "no migration of this user runs here" in run("set", "--downtime-limit", "1s").stderr
