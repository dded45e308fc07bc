"""Pieces several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from pagethrift.errors import UsageError
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import DEFAULT, live_strategy

StrategyName: TypeAlias = Annotated[
    str, typer.Option("--strategy", "-s", help="A row of `pagethrift strategies`.", metavar="NAME")
]
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--param", help="A strategy's parameter, repeatable.", metavar="NAME=VALUE"),
]
StopName: TypeAlias = Annotated[
    str | None,
    typer.Option(help="A stop rule of `pagethrift strategies` instead of the strategy's.", metavar="NAME"),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]

DEFAULT_STRATEGY = DEFAULT


def chosen_strategy(name: str, parameters: list[str] | None) -> Strategy:
    """Return a strategy for a real guest with its ``NAME=VALUE`` parameters. Raises UsageError."""
    return live_strategy(name, "", **parse_parameters(parameters))


def parse_parameters(parameters: list[str] | None) -> dict[str, float]:
    """Read ``NAME=VALUE`` pairs of numbers. Raises UsageError."""
    values: dict[str, float] = {}
    for text in parameters or []:
        key, equals, value = text.partition("=")
        try:
            values[key.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"{text!r} is not a parameter; write it as name=number")
    return values
