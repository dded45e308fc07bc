"""``python -m scripts.studies.table --over-traces``: each strategy and its settings over all traces.

Total times and data are in passes: related to sending the non-zero pages once over the same link, so that
guests of different size count alike. Medians over the traces, with the smallest and the largest.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from scripts.studies.rows import label, line

from pagethrift.units import format_bandwidth, format_seconds

HEADINGS = ("strategy", "ended by itself", "kept the limit", "TT in passes", "data in passes", "DT")


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table for each link of a sweep's rows (as dicts of its columns)."""
    links: dict[tuple[int, float, float], dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        link = (row["bandwidth_bps"], row["delay_s"], row["downtime_limit_s"])
        links.setdefault(link, {}).setdefault(label(row), []).append(row)
    lines: list[str] = []
    for (bandwidth_bps, delay_s, limit_s), groups in links.items():
        delay = f", delay {format_seconds(delay_s)}" if delay_s else ""
        traces = len({row["trace"] for group in groups.values() for row in group})
        heading = (
            f"## {format_bandwidth(bandwidth_bps)}{delay}, downtime limit {format_seconds(limit_s)},"
            f" {traces} trace{'s'[: traces != 1]}"
        )
        lines += [heading, "", line(HEADINGS), line(["---"] * len(HEADINGS))]
        lines += [line(_cells(name, group)) for name, group in groups.items()]
        lines.append("")
    return "\n".join(lines)


def _cells(name: str, group: list[Mapping[str, Any]]) -> list[str]:
    passes = [row["one_pass_bound_s"] * row["bandwidth_bps"] for row in group]
    data = [
        (row["first_round_bytes"] + row["retransferred_bytes"]) / one_pass_bytes
        for row, one_pass_bytes in zip(group, passes, strict=True)
    ]
    downtimes_s = [row["downtime_s"] for row in group if row["downtime_s"] is not None]
    kept = [
        row
        for row in group
        if row["converged"] and row["downtime_s"] is not None and row["downtime_s"] <= row["downtime_limit_s"]
    ]
    return [
        f"`{name}`",
        f"{sum(bool(row['converged']) for row in group)} of {len(group)}",
        f"{len(kept)} of {len(group)}",
        _spread([row["ratio"] for row in group]),
        _spread(data),
        _times(downtimes_s) if downtimes_s else "-",
    ]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _times(values_s: list[float]) -> str:
    shown = (format_seconds(each) for each in (statistics.median(values_s), min(values_s), max(values_s)))
    return "{} ({} to {})".format(*shown)
