"""``pagethrift restore``: settings that a killed pagethrift left at a QEMU, put back."""

from __future__ import annotations

import asyncio
import json as json_library
from typing import Annotated, Any

import typer

from pagethrift.cli.common import Json
from pagethrift.errors import QmpError
from pagethrift.live.kept import claimed
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: pagethrift restore --qmp /run/vm1.qmp\n\n"
    "Exit codes: 0 the operator's settings are in force, 5 QEMU refused or does not answer."
)
def restore(
    qmp: Annotated[str, typer.Option(help="QMP unix socket of the QEMU.", metavar="SOCKET")],
    json: Json = False,
) -> None:
    """Put back the migration settings that a killed pagethrift left behind.

    The operator's values are kept in /run/pagethrift (root) or the user's runtime folder. Where they are
    lost, values that only pagethrift sets are recognised and replaced by QEMU's defaults. Every migration
    does the same before it begins.
    """
    found, values = asyncio.run(_restore(qmp))
    if json:
        typer.echo(json_library.dumps({"found": found, "restored": values}))
    elif not found:
        typer.echo("nothing to restore: the settings are the operator's")
    else:
        typer.echo(found)
        for name, value in values.items():
            typer.echo(f"{name}: {value}")


async def _restore(path: str) -> tuple[str, dict[str, Any]]:
    monitor = await QmpMonitor.connect(path)
    try:
        with claimed(monitor):
            status = (await monitor.query_migrate()).status
            if status not in ("", "none", "completed", "failed", "cancelled"):
                raise QmpError(f"source {path}: a migration is running; wait for it, or cancel it")
            settings = await BorrowedSettings.of(monitor)
            values = settings.changed()
            if failure := await settings.restore():
                raise QmpError(failure)
            return settings.found, values
    finally:
        await monitor.close()
