"""Options and defaults that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from pagethrift.errors import one_line
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import DEFAULT, TABLE, live_strategy, parse_parameters

StrategyName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--strategy",
        "-s",
        help="The strategy; `pagethrift strategies` lists them.",
        metavar="NAME",
        autocompletion=lambda: list(TABLE),
    ),
]
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--param", help="A parameter of the strategy or of the stop rule; repeatable.", metavar="NAME=VALUE"
    ),
]
StopName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="A stop rule to use instead of the strategy's; `pagethrift strategies` lists them.",
        metavar="NAME",
        autocompletion=lambda: list(STOPS),
    ),
]
TlsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Encrypt the link with TLS; the folder has ca-cert.pem, client-cert.pem and client-key.pem, as"
        " QEMU and libvirt lay it out.",
        metavar="DIR",
        rich_help_panel="Link",
    ),
]
TlsHostname: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name in the destination's certificate (default: the host of its address).",
        metavar="NAME",
        rich_help_panel="Link",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]

NAMES_SHOWN = 5
LONGEST_LINE = 280

DEFAULT_STRATEGY = DEFAULT
DEFAULT_DOWNTIME_LIMIT = f"{DOWNTIME_LIMIT_S * 1000:g}ms"


def chosen_strategy(name: str, parameters: list[str] | None) -> Strategy:
    """Return a strategy for a real guest with its ``NAME=VALUE`` parameters. Raises UsageError."""
    return live_strategy(name, "", **parse_parameters(parameters or ()))


def left_out_line(files: Sequence[str]) -> str:
    """Return the note about files that are no results: the first names, and how many more."""
    more = f" and {len(files) - NAMES_SHOWN} more" if len(files) > NAMES_SHOWN else ""
    return one_line(
        f"left out, no results of migrations: {', '.join(files[:NAMES_SHOWN])}{more}", LONGEST_LINE
    )
