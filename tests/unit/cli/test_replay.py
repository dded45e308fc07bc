"""``pagethrift replay`` from the command line; tests/qemu/live/test_logging_decider.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagethrift.cli import replay
from pagethrift.errors import UsageError
from pagethrift.strategies.table import strategy
from tests.unit.simulator.test_replay import recorded


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(replay.app, [str(each) for each in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_same_decisions(tmp_path: Path) -> None:
    path = recorded(strategy("pagethrift"), tmp_path, "ours")
    lines = len(path.read_text().splitlines()) - 1
    code, text = call(path)
    assert code == 0
    assert f"pagethrift: {lines} decisions compared, 0 different; the last was to switch over" in text
    code, text = call(path, "--json")
    found = json.loads(text)
    assert (code, found["decisions"], found["differences"]) == (0, lines, [])
    assert found["parameters"]["margin"] == strategy("pagethrift").parameters["margin"]


def test_differences_are_shown_and_fail(tmp_path: Path) -> None:
    path = recorded(strategy("pagethrift", "nova"), tmp_path, "nova")
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(line.replace('"continue"', '"start post-copy"') for line in lines)]))
    code, text = call(path)
    assert code == 1
    assert "live start post-copy (no reason), replayed continue (no reason)" in text
    assert len(text.splitlines()) <= 12
    code, text = call(path, "--json")
    assert code == 1
    assert json.loads(text)["differences"][0]["replayed"]["action"] == "continue"


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        call(tmp_path / "absent")
    (tmp_path / "bad").write_text("{}")
    with pytest.raises(UsageError, match="not a facts log"):
        call(tmp_path / "bad")
