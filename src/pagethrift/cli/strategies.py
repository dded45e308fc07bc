"""``pagethrift strategies``: the table."""

from __future__ import annotations

import json as json_library

import typer
from rich.console import Console
from rich.table import Table

from pagethrift.cli.common import Json
from pagethrift.strategies.table import TABLE

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: pagethrift strategies --json")
def strategies(json: Json = False) -> None:
    """List the strategies and where each comes from."""
    rows = [make() for make in TABLE.values()]
    if json:
        keys = ("name", "summary", "source", "status", "parameters")
        typer.echo(json_library.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=1))
        return
    table = Table("name", "what it does", "from", "status", "parameters", box=None)
    for row in rows:
        parameters = " ".join(f"{key}={value:g}" for key, value in row.parameters.items())
        table.add_row(row.name, row.summary, row.source, row.status, parameters)
    Console().print(table)
