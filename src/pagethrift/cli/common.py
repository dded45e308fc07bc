"""Options and defaults that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypedDict

import typer

from pagethrift.address import Address
from pagethrift.errors import UsageError, one_line
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import DEFAULT, TABLE, live_strategy, parse_parameters
from pagethrift.units import parse_bandwidth, parse_seconds

if TYPE_CHECKING:
    from pagethrift.tls import TlsClient

LINK, SWITCHOVER, FORECAST = "Link", "Switchover", "Forecast"
"""panels of a migration's help"""

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
Bandwidth: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The rate of the link, if you know it, e.g. 1Gbit.", rich_help_panel=LINK),
]
DowntimeLimit: TypeAlias = Annotated[
    str, typer.Option(help="The longest downtime that you accept.", rich_help_panel=SWITCHOVER)
]
ForceAfter: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Switch over after this time, even if the predicted downtime is above the limit.",
        rich_help_panel=SWITCHOVER,
    ),
]
SwitchoverDeadline: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Break off a switchover that takes longer (default: 10 s or more).",
        rich_help_panel=SWITCHOVER,
    ),
]
Timeout: TypeAlias = Annotated[
    str | None, typer.Option(help="Break the migration off after this time.", rich_help_panel=SWITCHOVER)
]
ResultFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write the result to this file.", metavar="FILE")
]
FactsLog: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Write the planner's facts and decisions to this file, for pagethrift replay.",
        metavar="FILE",
    ),
]
TlsDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Encrypt the link with TLS; the folder has ca-cert.pem, client-cert.pem and client-key.pem, as"
        " QEMU and libvirt lay it out.",
        metavar="DIR",
        rich_help_panel=LINK,
    ),
]
TlsHostname: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name in the destination's certificate (default: the host of its address).",
        metavar="NAME",
        rich_help_panel=LINK,
    ),
]
Connect: TypeAlias = Annotated[
    str, typer.Option("--connect", "-c", help="The libvirt that has the domain.", metavar="URI")
]
Auto: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--auto",
        help="Make a forecast first, and migrate in the mode that it recommends, or not at all. Needs"
        " --bandwidth.",
        rich_help_panel=FORECAST,
    ),
]
Watch: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How long the guest is watched for the forecast (with --auto: 20s). Without --auto the result"
        " keeps the forecast, and you choose the mode.",
        metavar="DURATION",
        rich_help_panel=FORECAST,
    ),
]
ForecastFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--forecast",
        help="A forecast made before, which the result keeps beside what came; --auto takes the mode from"
        " it.",
        metavar="FILE.json",
        rich_help_panel=FORECAST,
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


def link_tls(folder: Path | None, destination: Address, hostname: str | None) -> TlsClient | None:
    """Return what the link is encrypted with, None for a plain one. Raises UsageError."""
    if folder is None:
        if hostname is not None:
            raise UsageError("--tls-hostname is for TLS only; give --tls-dir too")
        return None
    from pagethrift.tls import load_tls  # without TLS OpenSSL would only cost time and memory

    return load_tls(folder, destination, hostname or "")


class Ordered(TypedDict):
    """What every migration is asked for, over QMP or under libvirt, by the names of `Order`."""

    strategy: str
    parameters: Mapping[str, float]
    stop: str
    downtime_limit_s: float
    bandwidth_bps: int | None
    force_after_s: float | None
    timeout_s: float | None
    switchover_deadline_s: float | None


def ordered(
    strategy: str,
    parameters: list[str] | None,
    stop: str | None,
    downtime_limit: str,
    bandwidth: str | None,
    force_after: str | None,
    timeout: str | None = None,
    switchover_deadline: str | None = None,
) -> Ordered:
    """Return the options of a migration as values: bytes per second, seconds. Raises UsageError."""
    return {
        "strategy": strategy,
        "parameters": parse_parameters(parameters or ()),
        "stop": stop or "",
        "downtime_limit_s": parse_seconds(downtime_limit),
        "bandwidth_bps": parse_bandwidth(bandwidth) if bandwidth else None,
        "force_after_s": parse_seconds(force_after) if force_after else None,
        "timeout_s": parse_seconds(timeout) if timeout else None,
        "switchover_deadline_s": parse_seconds(switchover_deadline) if switchover_deadline else None,
    }


def left_out_line(files: Sequence[str]) -> str:
    """Return the note about files that are no results: the first names, and how many more."""
    more = f" and {len(files) - NAMES_SHOWN} more" if len(files) > NAMES_SHOWN else ""
    return one_line(
        f"left out, no results of migrations: {', '.join(files[:NAMES_SHOWN])}{more}", LONGEST_LINE
    )
