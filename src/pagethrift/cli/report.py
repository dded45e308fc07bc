"""``pagethrift report``: summarise result files as a page, tables or a chart."""

from __future__ import annotations

import json as json_library
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pagethrift.cli.common import Json, left_out_line
from pagethrift.errors import UsageError
from pagethrift.report import calibration
from pagethrift.report.against import comparisons
from pagethrift.report.load import Loaded, load
from pagethrift.report.overview import overviews
from pagethrift.report.summary import as_json, by_scenario, rows
from pagethrift.report.tables import LEGEND, calibration_markdown, markdown, overview_markdown
from pagethrift.results.label import label
from pagethrift.whole_file import check_folder, check_output, write_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Format(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "md"


@app.command(epilog="Example: pagethrift report results/demo --out report.html")
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with result files, archives that pagethrift pack wrote, or single files.",
            metavar="DIR...",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write to this file instead of standard output.", metavar="FILE")
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="A page (the default with --out) or Markdown tables.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Also write the page's figures as SVG and PNG.", metavar="DIR")
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(help="Also write total time and downtime as one picture.", metavar="FILE.svg"),
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="Use only the runs of this mode; repeatable.", metavar="MODE")
    ] = None,
    json: Json = False,
) -> None:
    """Summarise migrations as one self-contained HTML page or as Markdown tables.

    The page shows medians with their intervals, compares pagethrift with QEMU's own modes, and plots rounds
    and what clients saw over time. Where runs have a forecast, it also shows how good the forecasts were.

    Exit codes: 0 done, 2 no result file was found, one cannot be read, or the output cannot be written.
    """
    for option, path in (("--out", out), ("--chart", chart)):
        if path is not None:
            _ready(path, option)
    if plots is not None:
        check_folder(plots, "--plots")
    loaded = _only(load(folders), mode or [])
    if json:
        text = json_library.dumps(_json(loaded), indent=1) + "\n"
    elif (format or (Format.HTML if out else Format.MARKDOWN)) is Format.HTML:
        text = _page(loaded, folders)
    else:
        text = _markdown(loaded)
    if plots:
        _write_plots(loaded, plots)
    if chart:
        _write_chart(loaded, chart)
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)
    if loaded.left_out and not json:
        typer.echo(left_out_line(loaded.left_out), err=True)


def _only(loaded: Loaded, modes: list[str]) -> Loaded:
    """Keep the runs of ``modes``, in that order; without modes, all runs."""
    there = {run.mode for run in loaded.runs}
    if unknown := [name for name in modes if name not in there]:
        raise UsageError(f"no run in mode {unknown[0]!r}; these modes have runs: {', '.join(sorted(there))}")
    chosen = tuple(run for name in dict.fromkeys(modes) for run in loaded.runs if run.mode == name)
    return replace(loaded, runs=chosen) if modes else loaded


def _page(loaded: Loaded, folders: list[Path]) -> str:
    # here, not above: Markdown needs neither Jinja2 nor matplotlib
    from pagethrift.report.page import html

    names = " ".join(label(folder.resolve().name) for folder in folders)
    return html(loaded, f"pagethrift report {names}")


def _markdown(loaded: Loaded) -> str:
    scenarios = by_scenario(loaded.runs)
    parts = [overview_markdown(each) for each in overviews(scenarios)]
    parts += [f"### {name}\n\n{markdown(rows(runs))}\n" for name, runs in scenarios.items()]
    forecasts = calibration_markdown(loaded.runs)
    return "\n".join([*parts, *([forecasts] if forecasts else []), f"{LEGEND}\n"])


def _json(loaded: Loaded) -> dict[str, object]:
    groups = by_scenario(loaded.runs)
    return {
        "scenarios": {name: [as_json(row) for row in rows(runs)] for name, runs in groups.items()},
        "against_qemu": {
            name: {mode: [one.as_json() for one in found] for mode, found in comparisons(runs).items()}
            for name, runs in groups.items()
        },
        "forecasts": calibration.as_json(loaded.runs),
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


def _write_chart(loaded: Loaded, path: Path) -> None:
    from pagethrift.report.chart import chart
    from pagethrift.report.drawing import standalone_svg

    made = chart(by_scenario(loaded.runs))
    _write(path, standalone_svg(made.draw, made.size_in, made.title, made.description))


def _ready(path: Path, option: str) -> None:
    """Make the folder of an output and find out before the work whether it can be written."""
    check_folder(path.parent, f"{option} {path}: folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    check_output(path, option, stream=True)


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
