"""The comparison of runs as a table: the same cells on a terminal and in Markdown."""

from __future__ import annotations

from pagethrift.lab.compare import Row
from pagethrift.units import format_bytes, format_seconds

HEADINGS = (
    "way", "converged", "total time (TT)", "downtime (DT)", "blackout", "on the link (TD + RD)", "relay CPU",
    "relay memory", "x one pass", "lost requests",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """Return the cells of one row, in the order of HEADINGS."""
    return [
        row.mode,
        _converged(row),
        _time(row.total_time_s),
        _time(row.downtime_s),
        _time(row.blackout_s),
        format_bytes(row.transferred_bytes),
        _time(row.relay_cpu_s),
        "-" if row.relay_peak_rss_bytes is None else format_bytes(row.relay_peak_rss_bytes),
        "-" if row.ratio is None else f"{row.ratio:.2f}",
        str(row.lost_requests),
    ]


def markdown(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _converged(row: Row) -> str:
    if row.converged == row.runs:
        return "yes"
    forced = "forced" if row.forced_at_s is None else f"forced at {format_seconds(row.forced_at_s)}"
    return f"no ({forced})" if not row.converged else f"{row.converged} of {row.runs}"


def _time(value: float | None) -> str:
    return "-" if value is None else format_seconds(value)
