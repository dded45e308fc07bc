"""A live migration's log of facts and decisions, replayed through the same planner."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagethrift.cli import replay as replay_command
from pagethrift.errors import UsageError
from pagethrift.live.migrate import migrate
from pagethrift.model.facts import StopAction
from pagethrift.simulator.replay import replay
from pagethrift.trace.facts_log import read_facts
from tests.qemu.live.pair import Pair, slow_link


@pytest.mark.parametrize("name", ["pagethrift", "thesis"])
def test_replayed_decisions_are_identical(pair: Pair, folder: Path, name: str) -> None:
    path = folder / "facts.jsonl"

    async def run() -> None:
        async with slow_link(pair) as options:
            options = replace(options, strategy=name, facts_log=path, force_after_s=20.0)
            result = await migrate(options)
            assert result.converged

    asyncio.run(run())
    assert pair.states() == ("postmigrate", "running")
    log = read_facts(path)
    assert log.strategy == name
    assert len(log.lines) > 5
    assert log.lines[-1][1].action is StopAction.SWITCH_OVER
    assert replay(log) == []
    shown = CliRunner().invoke(replay_command.app, [str(path), "--json"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert json.loads(shown.output)["decisions"] == len(log.lines)


def test_where_qemu_decides_there_is_nothing_to_log(pair: Pair, folder: Path) -> None:
    options = replace(pair.options(), strategy="kvm-default", facts_log=folder / "facts.jsonl")
    with pytest.raises(UsageError, match="no planner"):
        asyncio.run(migrate(options))
    assert not (folder / "facts.jsonl").exists()
