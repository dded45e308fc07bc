"""``pagethrift report``: result files as something to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pagethrift.errors import UsageError
from pagethrift.lab.compare import rows
from pagethrift.lab.run_result import RunResult
from pagethrift.lab.tables import markdown

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: pagethrift report results/demo")
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders with result files of lab runs.", metavar="DIR...")
    ],
) -> None:
    """Print a Markdown table of the medians of lab runs, one for each scenario.

    Exit codes: 0 done, 2 no result files, or one that cannot be read.
    """
    by_scenario: dict[str, list[RunResult]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            result = RunResult.read(path)
            by_scenario.setdefault(result.scenario, []).append(result)
    if not by_scenario:
        raise UsageError(
            f"no result files in {', '.join(map(str, folders))}; make some with pagethrift lab run"
        )
    for scenario, results in by_scenario.items():
        typer.echo(f"### {scenario}\n\n{markdown(rows(results))}\n")
        for result in results:
            if result.ram:
                typer.echo(
                    f"RAM compared ({result.mode}): {result.ram.differing_pages} pages differ "
                    f"of {result.ram.compared_bytes} bytes.\n"
                )
