"""``pagethrift report``: result files as something to read."""

from __future__ import annotations

import json as json_library
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import Json
from pagethrift.errors import UsageError
from pagethrift.report.against import comparisons
from pagethrift.report.load import Loaded, load
from pagethrift.report.overview import overviews
from pagethrift.report.runs import label
from pagethrift.report.summary import as_json, by_scenario, rows
from pagethrift.report.tables import LEGEND, markdown, overview_markdown

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Format(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "md"


@app.command(epilog="Example: pagethrift report results/demo --out report.html")
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders with result files (or single files).", metavar="DIR...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write there instead of standard output.", metavar="FILE")
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="A page (default with --out) or Markdown tables.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write the page's figures as SVG and PNG, too.", metavar="DIR")
    ] = None,
    json: Json = False,
) -> None:
    """Sum up migrations as one self-contained HTML page, or as Markdown tables.

    Medians with intervals, comparison with QEMU's own ways, clients over time, rounds.

    Exit codes: 0 done, 2 no result files, one that cannot be read, or nowhere to write.
    """
    loaded = load(folders)
    if json:
        text = json_library.dumps(_json(loaded), indent=1) + "\n"
    elif (format or (Format.HTML if out else Format.MARKDOWN)) is Format.HTML:
        text = _page(loaded, folders)
    else:
        text = _markdown(loaded)
    if plots:
        _write_plots(loaded, plots)
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            out.write_text(text)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror}") from error
    if loaded.left_out and not json:
        typer.echo(f"left out, no results of migrations: {', '.join(loaded.left_out)}", err=True)


def _page(loaded: Loaded, folders: list[Path]) -> str:
    # here, not above: Markdown needs neither Jinja2 nor matplotlib
    from pagethrift.report.page import html

    names = " ".join(label(folder.resolve().name) for folder in folders)
    return html(loaded, f"pagethrift report {names}")


def _markdown(loaded: Loaded) -> str:
    scenarios = by_scenario(loaded.runs)
    parts = [overview_markdown(each) for each in overviews(scenarios)]
    parts += [f"### {name}\n\n{markdown(rows(runs))}\n" for name, runs in scenarios.items()]
    return "\n".join([*parts, f"{LEGEND}\n"])


def _json(loaded: Loaded) -> dict[str, object]:
    groups = by_scenario(loaded.runs)
    return {
        "scenarios": {name: [as_json(row) for row in rows(runs)] for name, runs in groups.items()},
        "against_qemu": {
            name: {mode: [one.as_json() for one in found] for mode, found in comparisons(runs).items()}
            for name, runs in groups.items()
        },
        "left_out": loaded.left_out,
    }


def _write_plots(loaded: Loaded, folder: Path) -> None:
    from pagethrift.report.drawing import write_files
    from pagethrift.report.page import figures

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures(loaded):
            write_files(figure.draw, figure.size_in, folder / figure.key, figure.title)
    except OSError as error:
        raise UsageError(f"cannot write plots to {folder}: {error.strerror}") from error
