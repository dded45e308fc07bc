"""``python -m scripts.studies.evacuation FILE``: evacuations by plan and by baselines as a Markdown table.

The file is written by ``python -m tests.qemu.evacuation``. Medians over the runs of an order, extremes
behind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scripts.studies.rows import line

from pagethrift.units import format_bandwidth, format_bytes, format_seconds

HEADINGS = (
    "order",
    "runs",
    "all out",
    "last out",
    "out in time",
    "within the limit",
    "on the link",
    "model's last",
)


def table(document: Mapping[str, Any]) -> str:
    """Return what all runs have in common, and a row for each order, the fastest first."""
    runs, guests = document["runs"], document["guests"]
    orders = list(dict.fromkeys(run["order"] for run in runs))
    rows = [_row(order, [run for run in runs if run["order"] == order], guests) for order in orders]
    head = (
        f"QEMU {document['qemu']}, {guests} guests of {format_bytes(document['ram_bytes'])}, link"
        f" {format_bandwidth(document['link_bps'])}, downtime limit {format_seconds(document['limit_s'])},"
        f" deadline {format_seconds(document['deadline_s'])}, at most {document['at_once']} at once."
    )
    rules = ("---", *["---:"] * (len(HEADINGS) - 1))
    cells = [row for _, row in sorted(rows, key=lambda each: each[0])]
    return "\n".join([head, "", line(HEADINGS), line(rules), *map(line, cells)])


def _row(order: str, runs: Sequence[Mapping[str, Any]], guests: int) -> tuple[tuple[int, float], list[str]]:
    """Return what to sort by, and the cells. A run in which a guest stayed has no time of the last."""
    whole = [run for run in runs if all(each["stage"] == "out" for each in run["guests"])]
    lasts = [run["last_out_s"] for run in whole]
    in_time = sum(bool(each["in_time"]) for run in runs for each in run["guests"])
    kept = sum(bool(each["within_limit"]) for run in runs for each in run["guests"])
    out = sum(each["stage"] == "out" for run in runs for each in run["guests"])
    sent = [run["link_bytes"] for run in runs]
    model = [run["planned_last_out_s"] for run in runs]
    cells = [
        order, str(len(runs)), f"{len(whole)} of {len(runs)}", _seconds(lasts),
        f"{in_time} of {len(runs) * guests}", f"{kept} of {out}",
        f"{format_bytes(median(sent))} ({format_bytes(min(sent))} to {format_bytes(max(sent))})",
        format_seconds(median(model)),
    ]  # fmt: skip
    return (len(runs) - len(whole), median(lasts) if lasts else float("inf")), cells


def _seconds(values: Sequence[float]) -> str:
    if not values:
        return "never"
    return f"{median(values):.1f} s ({min(values):.1f} to {max(values):.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.evacuation",
        description="Evacuations by plan and by baselines as a Markdown table.",
        epilog="example: python -m scripts.studies.evacuation docs/results/evacuation.json",
    )
    parser.add_argument("file", type=Path, help="written by python -m tests.qemu.evacuation --out FILE")
    print(table(json.loads(parser.parse_args(arguments).file.read_text())))


if __name__ == "__main__":
    main()
