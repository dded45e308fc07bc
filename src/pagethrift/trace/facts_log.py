"""A log of the facts given to a stop rule and its decisions: JSON lines, written live, for replay."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.given_file import read_text
from pagethrift.model.facts import StopAction, StopDecision, StopFacts

FACTS_SCHEMA = "pagethrift.facts"
FACTS_VERSION = 1


class FactsWriter:
    """Writes one migration's facts and decisions as they come, a line for each."""

    def __init__(self, path: Path, strategy: str, stop: str, parameters: Mapping[str, float]) -> None:
        try:
            self._file = path.open("w", buffering=1)
            head = {"schema": FACTS_SCHEMA, "version": FACTS_VERSION}
            self._put({**head, "strategy": strategy, "stop": stop, "parameters": dict(parameters)})
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    def add(self, facts: StopFacts, decision: StopDecision) -> None:
        """Add one line."""
        said = {**asdict(decision), "action": decision.action.value}
        self._put({"facts": asdict(facts), "decision": said})

    def close(self) -> None:
        """Close the file; what could not be written was told by `add`."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _put(self, data: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(data, separators=(",", ":")) + "\n")


@dataclass(frozen=True, slots=True)
class FactsLog:
    """One migration's decisions."""

    strategy: str
    stop: str
    """a stop rule instead of the strategy's own, or empty"""
    parameters: dict[str, float]
    """parameters of strategy and stop rule"""
    lines: tuple[tuple[StopFacts, StopDecision], ...]


def read_facts(path: Path) -> FactsLog:
    """Read a log. Raises UsageError."""
    try:
        lines = read_text(path).splitlines()
        head = json.loads(lines[0]) if lines else {}
        if head.get("schema") != FACTS_SCHEMA or head.get("version") != FACTS_VERSION:
            raise UsageError(f"{path}: not a facts log of version {FACTS_VERSION}")
        parameters = {str(name): float(value) for name, value in head["parameters"].items()}
        if not all(map(math.isfinite, parameters.values())):
            raise UsageError(f"{path}: parameters are finite numbers")
        return FactsLog(str(head["strategy"]), str(head["stop"]), parameters, tuple(_read(lines[1:])))
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: broken facts log ({error})") from error


def _read(lines: list[str]) -> Iterator[tuple[StopFacts, StopDecision]]:
    known = {each.name for each in fields(StopFacts)}
    for line in lines:
        data = json.loads(line)
        facts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data["facts"].items()
            if name in known
        }
        decision = data["decision"]
        yield StopFacts(**facts), StopDecision(**{**decision, "action": StopAction(decision["action"])})
