"""What the tables of a sweep have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def label(row: Mapping[str, Any]) -> str:
    """Return a row's strategy with its settings, as the tables name it."""
    parts = [str(row["strategy"])]
    if row["stop"]:
        parts.append(f"stop {row['stop']}")
    if row["parameters"] != "{}":
        parts.append(row["parameters"].strip("{}").replace('"', ""))
    if row["as_live"]:
        parts.append("as live")
    if row.get("channels"):  # sweeps before compressed channels have no such column
        parts.append("compressed")
    return ", ".join(parts)


def line(cells: Iterable[str]) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"
