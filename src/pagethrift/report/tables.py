"""The summary as a table: the same cells on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pagethrift.report import calibration
from pagethrift.report.measures import MEASURES
from pagethrift.report.overview import Overview
from pagethrift.report.runs import Run
from pagethrift.report.summary import Row

_KEYS = (
    "total_time_s", "downtime_s", "blackout_s", "first_round_bytes", "retransferred_bytes",
    "transferred_bytes", "relay_cpu_s", "relay_peak_rss_bytes", "ratio",
)  # fmt: skip
_SHOWN = tuple(measure for measure in MEASURES if measure.key in _KEYS)

HEADINGS = ("mode", "runs", "converged", *(measure.name for measure in _SHOWN), "lost")
LESS_NEEDED = ("runs", "x one pass", "MEM", "CPU", "TD", "RD", "link")
"""columns that a narrow terminal leaves out, in this order"""
LEGEND = (
    "TT total time, DT downtime, blackout the longest gap a client saw, TD and RD RAM sent for the first time"
    " and again, link all bytes on the link, CPU and MEM of the relay, lost requests."
)


def cells(row: Row, intervals: bool) -> list[str]:
    """Return the cells of one row, in the order of HEADINGS."""
    show = row.show if intervals else row.show_median
    return [row.mode, str(row.runs), row.convergence, *(show(m) for m in _SHOWN), row.lost]


def fitting(table: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Return a table, headings first, with as many columns as fit ``width`` characters."""
    columns = [list(column) for column in zip(*table, strict=True)]
    for name in LESS_NEEDED:
        if sum(max(map(len, column)) + 2 for column in columns) <= width:
            break
        columns = [column for column in columns if column[0] != name]
    return [list(row) for row in zip(*columns, strict=True)]


def overview_markdown(overview: Overview) -> str:
    """Return an overview as a Markdown section."""
    return _section(overview.title, overview.note, overview.headings, overview.rows)


def calibration_markdown(runs: Sequence[Run]) -> str:
    """Return how good the runs' forecasts were, as a Markdown section; empty if no run has one."""
    rows = calibration.table(runs)
    return _section("Forecasts", calibration.NOTE, calibration.HEADINGS, rows) if rows else ""


def _section(title: str, note: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    table = "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)
    return f"### {title}\n\n{note}\n\n{table}\n"


def markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table of the timed runs, and a line for each mode whose RAM was compared."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row, True) for row in rows if row.runs)]
    table = ["| " + " | ".join(map(_escaped, line)) + " |" for line in lines]
    checked = [f"RAM compared ({row.mode}): {row.ram}." for row in rows if row.ram_compared_bytes]
    return "\n".join(table) + "".join(f"\n\n{_escaped(line)}" for line in checked)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
