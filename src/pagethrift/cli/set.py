"""``pagethrift set``: changes a running migration."""

from __future__ import annotations

import json as json_library
from typing import Annotated

import typer

from pagethrift.cli.common import Json
from pagethrift.errors import UsageError
from pagethrift.model.relay_protocol import Change
from pagethrift.outside.finding import change, chosen, find_running
from pagethrift.units import format_bandwidth, format_seconds, parse_bandwidth, parse_seconds

UNLIMITED = "unlimited"

app = typer.Typer(add_completion=False)


@app.command(
    name="set",
    epilog="Example: pagethrift set vm1 --downtime-limit 500ms --bandwidth 2Gbit\n\n"
    "Exit codes: 0 the change is in force, 2 nothing was changed: no such migration, not a limit, or the"
    " switchover has begun, 4 the migration does not answer, 5 QEMU refused or does not answer.",
)
def set_limits(
    migration: Annotated[
        str | None,
        typer.Argument(
            help="Its id, guest or process number, as `pagethrift top` shows them; not needed where only one"
            " runs.",
            metavar="[MIGRATION]",
            show_default=False,
        ),
    ] = None,
    downtime_limit: Annotated[
        str | None, typer.Option(help="The longest downtime that you accept from now on, e.g. 500ms.")
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            help=f"The most that the migration may put on the link from now on, e.g. 2Gbit; {UNLIMITED}: no"
            " limit.",
            metavar="RATE",
        ),
    ] = None,
    go: Annotated[
        bool, typer.Option("--go", help="Let a migration switch over that was started with --wait-for-go.")
    ] = False,
    json: Json = False,
) -> None:
    """Change the downtime limit or the bandwidth cap of a running migration.

    Only its user and root may. Once the switchover is decided nothing is changed any more. The cap holds for
    the switchover too. With a relay the relay keeps it; with --plain it becomes QEMU's max-bandwidth, which
    QEMU does not keep in the switchover.
    """
    wanted = Change(_limit(downtime_limit), _cap(bandwidth), go)
    if wanted == Change():
        raise UsageError("nothing to change; give --downtime-limit, --bandwidth or --go")
    running = change(chosen(find_running(), migration), wanted)
    if json:
        typer.echo(json_library.dumps(running.to_data()))
        return
    cap = format_bandwidth(running.bandwidth_cap_bps) if running.bandwidth_cap_bps else UNLIMITED
    limit = format_seconds(running.downtime_limit_s)
    waits = ", waits for --go" if running.waits_for_go else ""
    typer.echo(f"{running.id}: downtime limit {limit}, bandwidth {cap}{waits}")


def _limit(text: str | None) -> float | None:
    if text is None:
        return None
    limit_s = parse_seconds(text)
    if not limit_s > 0:
        raise UsageError(f"--downtime-limit {text}: the downtime limit must be positive, e.g. 300ms")
    return limit_s


def _cap(text: str | None) -> int | None:
    if text is None:
        return None
    return 0 if text.strip() == UNLIMITED else parse_bandwidth(text)
