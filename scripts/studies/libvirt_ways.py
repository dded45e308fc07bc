"""``python -m scripts.studies.libvirt_ways FILE``: a series between two libvirtd as a Markdown table.

FILE is written by ``python -m tests.libvirt.series``. Medians, (least to most).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scripts.studies.rows import line

NAMES = {
    "virsh": "virsh alone",
    "relay": "virsh, `relay` alone",
    "map": "virsh, service by an address map",
    "redirect": "virsh, service by a nat redirect",
    "unix": "virsh, service on a unix socket",
    "migrate": "`libvirt migrate`",
    "attach": "virsh, `libvirt attach`",
    "parallel": "`libvirt migrate --parallel`",
}
COLUMNS: dict[str, tuple[Callable[[dict[str, Any]], float | None], float]] = {
    "virsh's time, s": (lambda trip: trip["virsh"].get("time_elapsed"), 1000),
    "ours, s": (lambda trip: trip["ours"].get("total_time_s"), 1),
    "on the link, MB": (lambda trip: trip["link_bytes"], 1e6),
    "out of QEMU, MB": (lambda trip: trip["virsh"].get("memory_processed"), 1e6),
    "downtime, ms": (lambda trip: trip["downtime_s"], 0.001),
    "virsh's, ms": (lambda trip: trip["virsh"].get("downtime"), 1),
}


def table(document: dict[str, Any]) -> str:
    """Return a line about the series and a row for each way."""
    limit_s = document["limit_s"]
    headings = ["way", "runs", *COLUMNS, f"within {limit_s * 1000:.0f} ms", "pages that differ"]
    lines = [
        f"{document['versions']}, {document['link_bps'] * 8 / 1e6:.0f} Mbit/s, a guest with the activity"
        f" `{document['activity']}`.",
        "",
        line(headings),
        line(["---", *["---:"] * (len(headings) - 1)]),
    ]
    for way, name in NAMES.items():
        trips = [trip for trip in document["trips"] if trip["way"] == way]
        good = [trip for trip in trips if "error" not in trip]
        timed = [trip for trip in good if trip["differing_pages"] is None]
        if not trips:
            continue
        failed = len(trips) - len(good)
        cells = [name, f"{len(timed)}" + (f" ({failed} failed)" if failed else "")]
        for of, unit in COLUMNS.values():
            cells.append(_spread([value / unit for trip in timed if (value := of(trip)) is not None]))
        downtimes = [trip["downtime_s"] for trip in timed if trip["downtime_s"] is not None]
        cells.append(f"{sum(each <= limit_s for each in downtimes)} of {len(downtimes)}")
        compared = [trip["differing_pages"] for trip in good if trip["differing_pages"] is not None]
        cells.append(f"{sum(compared)} in {len(compared)}" if compared else "-")
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    digits = 0 if median(values) >= 20 else 1
    low, middle, high = (f"{each:.{digits}f}" for each in (min(values), median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.libvirt_ways",
        description="The result file of python -m tests.libvirt.series as a Markdown table.",
        epilog="example: python -m scripts.studies.libvirt_ways docs/results/libvirt-11.3.json",
    )
    parser.add_argument("file", type=Path)
    sys.stdout.write(table(json.loads(parser.parse_args(arguments).file.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
