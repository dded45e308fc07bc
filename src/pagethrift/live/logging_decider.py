"""Logging what the planner of a live migration was told and what it answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pagethrift.errors import UsageError
from pagethrift.live.helm import Decider
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.strategies.base import Strategy
from pagethrift.trace.facts_log import FactsWriter


class LoggingDecider:
    """Asks another decider, and logs its facts and its decision."""

    def __init__(self, decider: Decider, writer: FactsWriter, warn: Callable[[str], None]) -> None:
        self._decider = decider
        self._writer: FactsWriter | None = writer
        self._warn = warn

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the other decider's decision."""
        decision = self._decider.decide(facts)
        if self._writer is not None:
            try:
                self._writer.add(facts, decision)
            except OSError as error:
                self._writer = None
                self._warn(f"the facts log ends early: {error.strerror or error}")
        return decision


def logged(
    decider: Decider | None,
    chosen: Strategy | None,
    path: Path | None,
    stack: ExitStack,
    warn: Callable[[str], None],
) -> Decider | None:
    """Return ``decider``, logging to ``path`` if there is one; a log that breaks is told to ``warn``.

    Raises UsageError.
    """
    if path is None:
        return decider
    if decider is None or chosen is None:
        raise UsageError("--facts-log: QEMU decides by itself and no planner runs; drop this option")
    writer = FactsWriter(path, chosen.name, chosen.stop_name, {**chosen.parameters, **chosen.stop_parameters})
    stack.callback(writer.close)
    return LoggingDecider(decider, writer, warn)
