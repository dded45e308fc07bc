"""``pagethrift restore``: after a kill, settings are put back, and both ends say where the guest is."""

from __future__ import annotations

import asyncio
import json as json_library
from typing import Annotated

import typer

from pagethrift.cli.common import Json
from pagethrift.errors import GuestError
from pagethrift.live.restore import Restored
from pagethrift.live.restore import restore as restore_live

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: pagethrift restore --qmp /run/vm1.qmp --destination-qmp /run/vm1-new.qmp\n\n"
    "Exit codes: 0 the operator's settings are in force, 2 usage, 5 QEMU refused or does not answer,"
    " 7 the settings are in force, but the guest runs at neither end, at both, or nobody can say where."
)
def restore(
    qmp: Annotated[str, typer.Option(help="The QMP unix socket of the source QEMU.", metavar="SOCKET")],
    destination_qmp: Annotated[
        str | None,
        typer.Option(help="The QMP unix socket of the destination QEMU.", metavar="SOCKET"),
    ] = None,
    start: Annotated[
        bool,
        typer.Option(
            "--start",
            help="Start the guest at the destination, if all of it has arrived and it runs at neither end.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Put back the migration settings that a killed pagethrift left behind, and say where the guest is.

    The operator's values are kept in /run/pagethrift (root) or the user's runtime folder. Where they are
    lost, values that only pagethrift sets are recognised and replaced by QEMU's defaults. Every migration
    does the same before it begins.

    A pagethrift that was killed after the source had completed may have left the guest paused at the
    destination. With both monitors this is recognised, and --start starts it.
    """
    done = asyncio.run(restore_live(qmp, destination_qmp, start))
    if json:
        typer.echo(json_library.dumps(_as_json(done)))
    else:
        for line in done.found or ("nothing to restore: the settings are the operator's",):
            typer.echo(line)
        for role, values in done.values.items():
            for name, value in values.items():
                typer.echo(f"{name}: {value}" if role == "source" else f"{role} {name}: {value}")
        if not done.in_doubt:
            typer.echo(f"started: {done.guest}" if done.started else done.guest)
    if done.in_doubt:
        raise GuestError(done.guest)


def _as_json(done: Restored) -> dict[str, object]:
    return {
        "found": "; ".join(done.found),
        "restored": done.values.get("source", {}),
        "restored_at_destination": done.values.get("destination", {}),
        "source": done.source.run_state,
        "destination": done.destination.run_state if done.destination else None,
        "guest": done.guest,
        "started": done.started,
    }
