"""``python -m scripts.studies.grid FAITHFUL.json``: live / simulated (error) of one measure, guests by ways.

``FAITHFUL.json`` is what ``scripts.studies.faithful --out`` wrote. Below the tables the errors over all
groups, without those that were forced both live and simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.studies.rows import line

from pagethrift.units import format_bandwidth

MEASURES = {"total_time_s": "total time, s", "downtime_s": "downtime, ms"}
WAYS = (
    "plain", "xbzrle:512MiB", "xbzrle:64MiB", "post-copy", "auto-converge",
    "xen", "xen-libxl", "hu", "lin", "tpo", "cloudnet", "thesis", "pagethrift",
)  # fmt: skip
"""their order in the tables; others come last"""


def markdown(study: Mapping[str, Any]) -> str:
    """Return a table for each of MEASURES and the errors over all groups."""
    groups = study["groups"]
    order = {way: place for place, way in enumerate(WAYS)}
    ways = sorted({_way(each) for each in groups}, key=lambda way: (order.get(way, len(order)), way))
    guests = list(dict.fromkeys((each["scenario"], each["bandwidth_bps"]) for each in groups))
    guests.sort(key=lambda guest: guest[1])
    lines: list[str] = []
    for measure, title in MEASURES.items():
        lines += [line([title, *(f"`{way}`" for way in ways)]), line(["---"] * (1 + len(ways)))]
        for scenario, bandwidth_bps in guests:
            cells = [_cell(groups, (scenario, bandwidth_bps, way), measure) for way in ways]
            lines.append(line([f"{scenario}, {format_bandwidth(bandwidth_bps)}", *cells]))
        lines.append("")
    for name, figures in study["errors"].items():
        lines.append(
            f"* {name}: {figures['median']:.1%} at the median, {figures['worst']:.1%} at worst"
            f" of {figures['groups']} groups"
        )
    return "\n".join(lines) + "\n"


def _way(group: Mapping[str, Any]) -> str:
    """Return a group's mode, and its compressed channels if it has any; older studies have no such field."""
    channels = group.get("channels", 0)
    return f"{group['mode']}, {channels} channels" if channels else str(group["mode"])


def _cell(groups: Sequence[Mapping[str, Any]], key: tuple[str, float, str], measure: str) -> str:
    for each in groups:
        if (each["scenario"], each["bandwidth_bps"], _way(each)) == key:
            live, simulated = each["live"][measure], each["simulated"][measure]
            if live is None or simulated is None:
                break
            if measure == "downtime_s":
                return f"{live * 1000:.0f} / {simulated * 1000:.0f}"
            return f"{live:.1f} / {simulated:.1f} ({simulated / live - 1:+.0%})"
    return "-"


def main(arguments: list[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.grid", description=__doc__)
    parser.add_argument("study", type=Path, metavar="FAITHFUL.json")
    chosen = parser.parse_args(arguments)
    sys.stdout.write(markdown(json.loads(chosen.study.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
