"""``pagethrift sweep``: run many simulations."""

from __future__ import annotations

import json as json_library
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pagethrift.cli.common import Json
from pagethrift.simulator.sweep import SweepProgress, run_sweep
from pagethrift.simulator.sweep_spec import read_spec
from pagethrift.whole_file import check_folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog="Example: pagethrift sweep strategies.toml --out results/sweep\n\n"
    "Exit codes: 0 every simulation has a result, 2 usage, or simulations failed;"
    " 130 interrupted (repeat the command to go on)."
)
def sweep(
    spec: Annotated[
        Path, typer.Argument(help="The file that says what to simulate; docs/simulator.md describes it.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the results.", metavar="DIR")] = Path("sweep"),
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler, e.g. tcp://host:8786 (default: workers on this machine).", metavar="ADDR"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="The number of workers on this machine (default: one for each core)."),
    ] = None,
    json: Json = False,
) -> None:
    """Simulate every combination of traces, strategies, parameters and links, here or on a Dask cluster.

    Finished simulations are kept in DIR/cells and are not run again. DIR/results.parquet has a row for each.
    """
    check_folder(out, "--out")
    cells = read_spec(spec)
    if json:
        path = run_sweep(cells, out, scheduler, workers, _json_line)
        typer.echo(json_library.dumps({"type": "result", "path": str(path), "cells": len(cells)}))
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=len(cells))

        def show(progress: SweepProgress) -> None:
            note = f", {progress.failed} failed" if progress.failed else ""
            bar.update(
                task,
                completed=progress.done + progress.failed,
                description=f"simulating ({progress.reused} from an earlier sweep{note})",
            )

        path = run_sweep(cells, out, scheduler, workers, show)
    print(f"{path}: {len(cells)} results", file=sys.stdout)


def _json_line(progress: SweepProgress) -> None:
    typer.echo(json_library.dumps({"type": "progress", **asdict(progress)}))
