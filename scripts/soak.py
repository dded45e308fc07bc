"""``python -m scripts.soak FILE``: the result file of ``make soak`` as a Markdown table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

MIB = 1 << 20
AFTER = (10, 50, 100, 200, 500, 1000)
"""hops after which a row shows what was held"""


def table(document: dict[str, Any]) -> str:
    """Return a line about the migrations, and a row for each count of hops with what was held then."""
    hops: dict[str, list[Any]] = document["hops"]
    done, faults = len(hops["seconds"]), document["faults"]
    seconds = hops["seconds"]
    # None where the destination was left paused for the comparison
    downtimes = [each for each in hops["downtime_s"] if each is not None]
    told = "no faults" if not faults else f"{len(faults)} faults ({'; '.join(faults)})"
    lines = [
        f"QEMU {document['qemu']}: {done} of {document['asked']} migrations in {document['wall_s']:,.0f} s,"
        f" {sum(hops['multifd'])} of them with multifd; RAM compared {sum(hops['compared'])} times; {told}."
        f" A migration took {median(seconds):.2f} s (median; longest {max(seconds):.2f} s), its downtime,"
        f" where no RAM was compared, {median(downtimes) * 1000:.0f} ms"
        f" (longest {max(downtimes) * 1000:.0f} ms).",
        "",
        "| after hop | RSS | descriptors | threads | child processes | temporary files | state files |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    columns = ("descriptors", "threads", "children", "temporary", "state_files")
    for number in _rows(done):
        cells = [f"{hops['rss_bytes'][number - 1] / MIB:.1f} MiB"]
        cells += [str(hops[name][number - 1]) for name in columns]
        lines.append(f"| {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(done: int) -> Sequence[int]:
    return sorted({1, *(number for number in AFTER if number < done), done})


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.soak",
        description="The result file of make soak as a Markdown table.",
        epilog="example: python -m scripts.soak docs/results/soak.json",
    )
    parser.add_argument("file", type=Path, help="written by python -m tests.qemu.soak --out FILE")
    print(table(json.loads(parser.parse_args(arguments).file.read_text())))


if __name__ == "__main__":
    main()
