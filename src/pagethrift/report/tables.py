"""The summary as a table: the same cells on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pagethrift.report.measures import MEASURES
from pagethrift.report.summary import Row

_HEADINGS = {
    "total_time_s": "total time (TT)",
    "downtime_s": "downtime (DT)",
    "blackout_s": "blackout",
    "transferred_bytes": "on the link (TD + RD)",
    "relay_cpu_s": "relay CPU",
    "relay_peak_rss_bytes": "relay memory",
    "ratio": "x one pass",
}
"""the measures that fit on a terminal"""
_SHOWN = tuple(measure for measure in MEASURES if measure.key in _HEADINGS)

HEADINGS = ("way", "runs", "converged", *(_HEADINGS[m.key] for m in _SHOWN), "lost requests")


def cells(row: Row, intervals: bool) -> list[str]:
    """Return the cells of one row, in the order of HEADINGS."""
    show = row.show if intervals else row.show_median
    return [row.mode, str(row.runs), row.convergence, *(show(m) for m in _SHOWN), row.lost]


def markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table of the timed runs, then a line for each mode whose RAM was compared."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row, True) for row in rows if row.runs)]
    table = ["| " + " | ".join(map(_escaped, line)) + " |" for line in lines]
    checked = [f"RAM compared ({row.mode}): {row.ram}." for row in rows if row.ram_compared_bytes]
    return "\n".join(table) + "".join(f"\n\n{_escaped(line)}" for line in checked)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
