"""``pagethrift relay --serve``: one service on a host for many migrations."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.address import Address, parse_address
from pagethrift.cli.channels import DEFAULT_WINDOW, Channels, CompressOption, Window, channel_settings
from pagethrift.cli.common import (
    DEFAULT_DOWNTIME_LIMIT,
    DEFAULT_STRATEGY,
    Json,
    Parameters,
    StrategyName,
    TlsDir,
    TlsHostname,
    chosen_strategy,
    link_tls,
)
from pagethrift.errors import UsageError
from pagethrift.line_writer import LineWriter
from pagethrift.model.channels import Compress
from pagethrift.model.defaults import HOLD_BUDGET_BYTES
from pagethrift.service.limits import CONNECTIONS, DRAIN_S, MOST, PER_HOST, SILENCE_S, Limits
from pagethrift.service.notify import Supervisor
from pagethrift.service.serve import Service
from pagethrift.service.telling import Teller
from pagethrift.service.ways import Map, Pair, Way, parse_map, parse_pair, parse_redirect
from pagethrift.units import format_bytes, parse_bandwidth, parse_seconds, parse_size

LEAST_HOLD_BYTES = 1 << 20
"""for each migration; less holds nothing that would help"""
DEFAULT_MEMORY = f"{MOST * HOLD_BUDGET_BYTES >> 20}MiB"
DESCRIPTORS_OF_A_RELAY = 16
"""pipes and sockets of its process, in this one"""
DESCRIPTORS_ELSE = 64

_IN, _LIMITS = "Ways in", "Limits"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Example: pagethrift relay --serve --map 127.77.0.0/16:49152-49215=10.0.0.0/16, and in virsh: "
    "migrate --live --migrateuri tcp://127.77.0.2 ... for the host 10.0.0.2"
)
def serve(
    pair: Annotated[
        list[str] | None,
        typer.Option(
            help="Who connects to LISTEN goes to CONNECT; repeatable.",
            metavar="LISTEN=CONNECT",
            rich_help_panel=_IN,
        ),
    ] = None,
    address_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Who connects to an address of the first network goes to the same host of the second one, at"
            " the same port, e.g. 127.77.0.0/16:49152-49215=10.0.0.0/16; repeatable.",
            metavar="NET:PORTS=NET",
            rich_help_panel=_IN,
        ),
    ] = None,
    redirect: Annotated[
        list[str] | None,
        typer.Option(
            help="Who is redirected to this address by a nat rule goes where it was going to; repeatable.",
            metavar="LISTEN",
            rich_help_panel=_IN,
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(help="So many migrations at once; further ones wait.", rich_help_panel=_LIMITS)
    ] = MOST,
    memory: Annotated[
        str,
        typer.Option(
            help="How much memory of their guests all relays together may hold back.",
            metavar="SIZE",
            rich_help_panel=_LIMITS,
        ),
    ] = DEFAULT_MEMORY,
    connections: Annotated[
        int,
        typer.Option(
            help="So many connections that no relay has: new, waiting, piped.", rich_help_panel=_LIMITS
        ),
    ] = CONNECTIONS,
    per_host: Annotated[
        int, typer.Option(help="So many of these from one host.", rich_help_panel=_LIMITS)
    ] = PER_HOST,
    silence: Annotated[
        str,
        typer.Option(
            help="Connect the destination when a client says nothing for so long; 0: never, so no protocol"
            " in which the server speaks first.",
            rich_help_panel=_LIMITS,
        ),
    ] = f"{SILENCE_S * 1000:.0f}ms",
    drain: Annotated[
        str,
        typer.Option(help="Told to end, wait so long for running migrations.", rich_help_panel=_LIMITS),
    ] = f"{DRAIN_S / 60:.0f}min",
    strategy: StrategyName = DEFAULT_STRATEGY,
    param: Parameters = None,
    bandwidth: Annotated[
        str | None, typer.Option(help="The rate that each migration gets, if you know it, e.g. 1Gbit.")
    ] = None,
    downtime_limit: Annotated[
        str,
        typer.Option(help="The longest downtime that you accept; it bounds how much a relay holds back."),
    ] = DEFAULT_DOWNTIME_LIMIT,
    channels: Channels = 0,
    compress: CompressOption = Compress.AUTO,
    window: Window = DEFAULT_WINDOW,
    guest_uuid: Annotated[str, typer.Option(help="As for relay; of all guests, so of one.")] = "",
    tls_dir: TlsDir = None,
    tls_hostname: TlsHostname = None,
    stall_timeout: Annotated[
        str | None, typer.Option(help="A migration fails when its destination takes nothing for this long.")
    ] = None,
    json: Json = False,
) -> None:
    """One service for many migrations of a host, each in a relay's process of its own.

    What is no migration is piped to its destination untouched. SIGTERM lets running migrations end, a second
    one ends them: their guests run on at the source. With --json every event is an object on standard output.

    Exit codes: 0 told to end, 2 usage, 4 an address cannot be had.
    """
    ways = _ways(pair, address_map, redirect)
    if not 1 <= most <= 1000:
        raise UsageError(f"--most {most}: choose 1 to 1000")
    if connections < 1 or per_host < 1:
        raise UsageError("--connections and --per-host are at least 1")
    limits = Limits(most, connections, per_host, parse_seconds(silence), parse_seconds(drain))
    hold_bytes = parse_size(memory) // most
    if hold_bytes < LEAST_HOLD_BYTES:
        raise UsageError(
            f"--memory {memory}: {format_bytes(hold_bytes)} for each of {most} migrations is too little;"
            f" give at least {most * LEAST_HOLD_BYTES >> 20}MiB"
        )
    chosen_strategy(strategy, param)
    channel_settings(channels, compress, window, guest_uuid)
    parse_seconds(downtime_limit)
    options = [
        "--strategy", strategy, "--downtime-limit", downtime_limit, "--channels", f"{channels}",
        "--compress", compress, "--window", window, "--hold", f"{hold_bytes}B",
    ]  # fmt: skip
    for each in param or ():
        options += ["--param", each]
    if stall_timeout:
        parse_seconds(stall_timeout)
        options += ["--stall-timeout", stall_timeout]
    if bandwidth:
        parse_bandwidth(bandwidth)
        options += ["--bandwidth", bandwidth]
    if guest_uuid:
        options += ["--guest-uuid", guest_uuid]
    options += _tls_options(tls_dir, tls_hostname, ways)

    def relay_argv(destination: Address) -> list[str]:
        command = [sys.executable, "-m", "pagethrift", "relay", "--json", "--connect", str(destination)]
        return [*command, *options]

    _raise_descriptors(limits, ways)
    supervisor = Supervisor()
    teller = Teller(LineWriter(sys.stderr.fileno()), LineWriter(sys.stdout.fileno()) if json else None)
    service = Service(
        ways, relay_argv, teller, limits,
        on_ready=lambda: supervisor.say("READY=1", "STATUS=listening"),
        on_end=lambda: supervisor.say("STOPPING=1", "STATUS=running migrations end"),
    )  # fmt: skip
    asyncio.run(_run(service))


async def _run(service: Service) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # there is nothing to read anew
    await service.run()


def _ways(
    pairs: Sequence[str] | None, maps: Sequence[str] | None, redirects: Sequence[str] | None
) -> list[Way]:
    ways: list[Way] = [parse_pair(each) for each in pairs or ()]
    ways += [parse_map(each) for each in maps or ()]
    ways += [parse_redirect(each) for each in redirects or ()]
    if not ways:
        raise UsageError("give at least one --pair, --map or --redirect; see pagethrift relay --serve --help")
    return ways


def _tls_options(folder: Path | None, hostname: str | None, ways: Sequence[Way]) -> list[str]:
    """Check the folder now, not when the first migration comes. Raises UsageError."""
    somewhere = parse_address("localhost:1")
    for far in [way.far for way in ways if isinstance(way, Pair)] or [somewhere]:
        link_tls(folder, far, hostname)
    if folder is None:
        return []
    return ["--tls-dir", str(folder)] + (["--tls-hostname", hostname] if hostname else [])


def _raise_descriptors(limits: Limits, ways: Sequence[Way]) -> None:
    """Allow this process the descriptors that its limits may need. Raises UsageError."""
    listeners = sum(len(way.ports) if isinstance(way, Map) else 1 for way in ways)
    needed = 2 * limits.connections + listeners + DESCRIPTORS_OF_A_RELAY * limits.most + DESCRIPTORS_ELSE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"these limits may need {needed} descriptors, and this process may have {hard}: allow more"
            " (LimitNOFILE), or give a smaller --connections"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
