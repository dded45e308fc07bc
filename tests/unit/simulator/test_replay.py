"""A facts log comes back as it was written, and the same planner decides the same."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.engine.planner import Planner
from pagethrift.errors import UsageError
from pagethrift.live.logging_decider import logged
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.simulator.replay import logged_strategy, replay
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE, strategy
from pagethrift.trace.facts_log import read_facts
from pagethrift.trace.synthetic import Load
from tests.traces import made


def recorded(row: Strategy, folder: Path, name: str) -> Path:
    """Log every question of a simulated migration, as a live one's are."""
    path = folder / f"{name}.jsonl"
    trace = made(folder, Load.ZIPF, writes_per_s=4000.0)
    with ExitStack() as stack:
        rule = logged(Planner(row.stop), row, path, stack, print)
        assert rule is not None
        simulate(trace, replace(row, stop=rule), SimulateOptions(LinkSpec(12.5e6), force_after_s=10.0))
    return path


@pytest.mark.parametrize("name", TABLE)
def test_identical_decisions_for_every_strategy(tmp_path: Path, name: str) -> None:
    log = read_facts(recorded(strategy(name), tmp_path, name))
    assert len(log.lines) > 0
    assert logged_strategy(log).name == name
    assert replay(log) == []


@pytest.mark.parametrize("stop", STOPS)
def test_identical_decisions_for_every_stop_rule(tmp_path: Path, stop: str) -> None:
    log = read_facts(recorded(strategy("pagethrift", stop), tmp_path, stop))
    assert log.stop == stop
    assert replay(log) == []


def test_another_rule_differs(tmp_path: Path) -> None:
    log = read_facts(recorded(strategy("pagethrift"), tmp_path, "ours"))
    found = replay(log, strategy("pagethrift", "post-copy"))
    assert found[0].replayed.action is StopAction.START_POST_COPY


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    facts = StopFacts(
        1.5, 2, 1.25, 100, 10, 5.5, 1000, 200, (900, 300), (100, 20), 7, 0, 3, 1e6, 0.3, held_pages=4
    )
    said = StopDecision(StopAction.SET_THROTTLE, "hot", None, 20)

    class Says:
        def decide(self, facts: StopFacts) -> StopDecision:
            return said

    with ExitStack() as stack:
        decider = logged(Says(), strategy("hu", "nova", ones=2), tmp_path / "log", stack, print)
        assert decider is not None
        assert decider.decide(facts) is said
    log = read_facts(tmp_path / "log")
    assert log.lines == ((facts, said),)
    assert (log.strategy, log.stop, log.parameters["ones"]) == ("hu", "nova", 2)


def test_refusals(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert logged(None, None, None, stack, print) is None
        with pytest.raises(UsageError, match="no planner"):
            logged(None, strategy("kvm-default"), tmp_path / "log", stack, print)
        with pytest.raises(UsageError, match="cannot write"):
            logged(Planner(strategy("hu").stop), strategy("hu"), tmp_path / "no" / "log", stack, print)
    for text in ("", "{}", '{"schema": "pagethrift.facts", "version": 1}', "x"):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(UsageError, match="bad"):
            read_facts(tmp_path / "bad")
    with pytest.raises(UsageError, match="cannot read"):
        read_facts(tmp_path / "absent")
