"""``pagethrift top``: every relay and migration that runs on this host."""

from __future__ import annotations

import json as json_library
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pagethrift.cli.common import Json
from pagethrift.errors import UsageError, one_line
from pagethrift.outside.finding import Found, find_running
from pagethrift.units import format_bandwidth, format_bytes, format_seconds, parse_seconds

NAME_SHOWN = 20
COLUMNS = (
    "MIGRATION", "GUEST", "PID", "STATE", "ROUND", "IN", "OUT", "OUT/IN", "LINK", "QUEUE", "DOWNTIME", "RSS",
    "SINCE",
)  # fmt: skip
LEAST_INTERVAL_S = 0.1

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: pagethrift top, and for programs: pagethrift top --json")
def top(
    once: Annotated[bool, typer.Option("--once", help="Print the table once.")] = False,
    interval: Annotated[str, typer.Option(help="How often to look.")] = "1s",
    json: Json = False,
) -> None:
    """Show every relay and migration that runs on this host, a row each; root sees those of all users.

    DOWNTIME is predicted for a switchover now, for a migration that pagethrift drives. QUEUE
    is how long the bytes that wait in the relay will take. RSS is the memory of the process and of its relay.
    With --json a list of all is printed once. The table is printed once where the output is no terminal.
    """
    interval_s = parse_seconds(interval)
    if interval_s < LEAST_INTERVAL_S:
        raise UsageError(f"--interval {interval}: at least {LEAST_INTERVAL_S:g}s")
    if json:
        typer.echo(json_library.dumps([as_data(each) for each in find_running()]))
        return
    console = Console()
    if once or not console.is_terminal:
        # wide enough for a file or a pipe, where nothing has to fit a screen
        Console(width=None if console.is_terminal else 200).print(table(find_running(), time.time()))
        return
    try:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(table(find_running(), time.time()), refresh=True)
                time.sleep(interval_s)
    except KeyboardInterrupt:  # how one leaves it
        sys.exit(0)


def as_data(found: Found) -> dict[str, Any]:
    """Return one for a program; ``answers`` false: it lives, and nothing else is known."""
    about = {"pid": found.pid, "answers": found.running is not None, "rss_bytes": found.rss_bytes}
    return {**(found.running.to_data() if found.running else {}), **about}


def table(found: list[Found], now_unix_s: float) -> Table:
    """Return the table."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        drawn.add_column(name, justify="left" if name in ("MIGRATION", "GUEST", "STATE") else "right")
    for each in found:
        drawn.add_row(*map(Text, _row(each, now_unix_s)))
    if not found:
        drawn.caption = "nothing runs here"
    return drawn


def _row(found: Found, now_unix_s: float) -> list[str]:
    running, memory = found.running, format_bytes(found.rss_bytes)
    if running is None:
        return ["?", "", str(found.pid), "does not answer", *[""] * 7, memory, ""]
    predicted_s, queue_s, ratio = running.predicted_downtime_s, running.queue_s, running.ratio
    return [
        one_line(running.id, NAME_SHOWN),
        one_line(running.guest, NAME_SHOWN),
        str(running.pid),
        one_line(running.state, NAME_SHOWN),
        str(running.round),
        format_bytes(running.in_bytes) if running.in_bytes else "",
        format_bytes(running.out_bytes),
        f"{ratio:.2f}" if ratio is not None else "",
        format_bandwidth(running.link_bps) if running.link_bps else "",
        format_seconds(queue_s) if queue_s is not None else "",
        format_seconds(predicted_s) if predicted_s is not None else "",
        memory,
        _age(now_unix_s - running.began_unix_s),
    ]


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
