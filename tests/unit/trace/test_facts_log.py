"""Logs of facts and decisions: they come back as they were, and what is no log is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.trace.facts_log import FactsWriter, read_facts
from tests.unit.strategies.facts import stop_facts

FACTS = stop_facts([1000, 100])
DECISIONS = (StopDecision(StopAction.CONTINUE), StopDecision(StopAction.SWITCH_OVER, "it fits", 0.25))


def written(path: Path) -> Path:
    log = FactsWriter(path, "pagethrift", "nova", {"hot_rounds": 2.0})
    for number, decision in enumerate(DECISIONS):
        log.add(replace(FACTS, now_s=float(number)), decision)
    log.close()
    return path


def test_what_was_asked_and_answered_comes_back(tmp_path: Path) -> None:
    log = read_facts(written(tmp_path / "facts.jsonl"))
    assert (log.strategy, log.stop, log.parameters) == ("pagethrift", "nova", {"hot_rounds": 2.0})
    assert log.lines == tuple(
        (replace(FACTS, now_s=float(number)), decision) for number, decision in enumerate(DECISIONS)
    )


def test_every_line_is_there_at_once(tmp_path: Path) -> None:
    """A migration that is killed leaves what was decided until then."""
    path = tmp_path / "facts.jsonl"
    log = FactsWriter(path, "pagethrift", "", {})
    log.add(FACTS, DECISIONS[0])
    assert len(read_facts(path).lines) == 1
    log.close()


def test_facts_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "facts.jsonl")
    head, first, *_ = path.read_text().splitlines()
    line = json.loads(first)
    line["facts"]["weather"] = "fine"
    path.write_text(f"{head}\n{json.dumps(line)}\n")
    assert read_facts(path).lines[0][1] == DECISIONS[0]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no JSON", '{"schema": "pagethrift.facts", "version": 2}', '{"schema": "x"}']
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x: (not a|broken) facts log"):
        read_facts(path)


def test_a_damaged_line_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "facts.jsonl")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UsageError, match="broken facts log"):
        read_facts(path)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none"):
        read_facts(tmp_path / "none")
    with pytest.raises(UsageError, match=r"cannot write .*x"):
        FactsWriter(tmp_path / "none" / "x", "pagethrift", "", {})
