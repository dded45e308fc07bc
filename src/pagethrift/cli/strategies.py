"""``pagethrift strategies``: list the strategies and the stop rules."""

from __future__ import annotations

import json as json_library
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from pagethrift.cli.common import Json
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: pagethrift strategies --json")
def strategies(json: Json = False) -> None:
    """List the strategies and the stop rules with their sources.

    The status is exact (as in the source code or paper), reconstructed (our reading of what is published)
    or ours.
    """
    rows, stops = _strategies(), _stops()
    if json:
        typer.echo(json_library.dumps({"strategies": rows, "stop_rules": stops}, indent=1))
        return
    console = Console()
    console.print(_table("strategy", rows))
    console.print()
    console.print(_table("stop rule", stops))


def _strategies() -> list[dict[str, Any]]:
    keys = ("name", "summary", "source", "status", "parameters", "live", "refuses_live")
    made = [make() for make in TABLE.values()]
    return [{key: getattr(row, key) for key in keys} for row in made]


def _stops() -> list[dict[str, Any]]:
    keys = ("summary", "source", "status", "parameters", "refuses_live")
    return [{"name": name, **{key: getattr(row, key) for key in keys}} for name, row in STOPS.items()]


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    for heading in (title, "status", "live"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it does; source; parameters")
    for row in rows:
        live = "no" if row["refuses_live"] else "analogue" if row.get("live") else "yes"
        words = (row["summary"], row["source"], _words(row["parameters"]))
        table.add_row(row["name"], row["status"], live, "\n".join(filter(None, words)))
    return table


def _words(parameters: Mapping[str, float]) -> str:
    return " ".join(f"{key}={value:g}" for key, value in parameters.items())
