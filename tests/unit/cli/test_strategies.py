"""``pagethrift strategies``, and what the relay and thin refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pagethrift", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input="")


def test_json_lists_both_tables() -> None:
    listed = json.loads(run("strategies", "--json").stdout)
    assert [row["name"] for row in listed["strategies"]] == list(TABLE)
    assert [row["name"] for row in listed["stop_rules"]] == list(STOPS)
    rows = {row["name"]: row for row in listed["strategies"]}
    assert rows["hu"]["status"] == "reconstructed"
    assert rows["thesis"]["parameters"] == {"threshold": 0.75, "per_round": 0}
    assert "--plain --post-copy" in rows["kvm-post-copy"]["refuses_live"]
    assert rows["pagethrift"]["refuses_live"] == ""


def test_people_see_names_and_status() -> None:
    text = run("strategies").stdout
    for name in (*TABLE, *STOPS):
        assert name in text
    assert "reconstructed" in text


@pytest.mark.parametrize(
    "argv", [("thin",), ("relay", "--listen", "unix:/nowhere/a", "--connect", "h:1")], ids=["thin", "relay"]
)
def test_rows_of_the_simulator_are_refused(argv: tuple[str, ...]) -> None:
    done = run(*argv, "--strategy", "thesis-literal")
    assert done.returncode == 2
    assert "stale pages" in done.stderr
    assert len(done.stderr.splitlines()) == 1
