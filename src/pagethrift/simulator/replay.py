"""Giving a new planner the facts of a live migration, to compare the decisions."""

from __future__ import annotations

from dataclasses import dataclass

from pagethrift.engine.planner import Planner
from pagethrift.errors import UsageError
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import strategy
from pagethrift.trace.facts_log import FactsLog


@dataclass(frozen=True, slots=True)
class Difference:
    """Facts on which live and replay decided differently."""

    facts: StopFacts
    live: StopDecision
    replayed: StopDecision


def replay(log: FactsLog, row: Strategy | None = None) -> list[Difference]:
    """Return every decision that differs; empty for a faithful planner.

    ``row``: an unused strategy object to ask instead of the one that ran.

    Raises UsageError for impossible facts.
    """
    planner = Planner((row or logged_strategy(log)).stop)
    differences = []
    for number, (facts, live) in enumerate(log.lines, 2):
        try:
            replayed = planner.decide(facts)
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"broken facts log: nobody can decide on line {number} ({error})") from error
        if replayed != live:
            differences.append(Difference(facts, live, replayed))
    return differences


def logged_strategy(log: FactsLog) -> Strategy:
    """Return a new strategy object as named in a log. Raises UsageError for an unknown strategy."""
    return strategy(log.strategy, log.stop, **log.parameters)
