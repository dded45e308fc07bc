"""Facts logs: a log whose decisions can be replayed, or one UsageError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from pagethrift.errors import UsageError
from pagethrift.model.facts import StopAction
from pagethrift.trace.facts_log import FACTS_SCHEMA, FACTS_VERSION, read_facts
from tests.fuzz.target import Target, check_line, file_of
from tests.unit.strategies.facts import stop_facts


def fuzz_one(data: bytes) -> None:
    with file_of(data, "facts.jsonl") as path:
        try:
            log = read_facts(path)
        except UsageError as error:
            check_line(error)
            return
    assert isinstance(log.strategy, str)
    assert isinstance(log.stop, str)
    assert all(isinstance(value, int | float) for value in log.parameters.values())
    for facts, decision in log.lines:
        assert isinstance(facts.now_s, int | float)
        assert isinstance(decision.action, StopAction)


def seeds() -> Iterator[bytes]:
    head = {"schema": FACTS_SCHEMA, "version": FACTS_VERSION, "strategy": "pagethrift", "stop": "nova"}
    first = json.dumps(head | {"parameters": {"hot_rounds": 2.0}})
    line = json.dumps(
        {"facts": asdict(stop_facts([1000, 100])), "decision": {"action": StopAction.SWITCH_OVER.value}}
    )
    yield first.encode()
    yield f"{first}\n{line}\n{line}\n".encode()
    yield f"{first}\n{line[:40]}".encode()
    yield b"\xff{}"


TARGET = Target(fuzz_one, seeds, most_bytes=5000)
