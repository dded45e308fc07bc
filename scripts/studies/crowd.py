"""``python -m scripts.studies.crowd FILE``: guests that left a host at once, as a Markdown table.

FILE is written by ``python -m tests.qemu.crowd``. Medians over the rounds, (least to most).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from scripts.studies.rows import line

MIB = 1 << 20


def fairness(values: Sequence[float]) -> float:
    """Return Jain's index: 1 where all are equal, 1/n where one has everything (Jain, Chiu, Hawe 1984)."""
    return sum(values) ** 2 / (len(values) * sum(each**2 for each in values))


def table(document: dict[str, Any]) -> str:
    """Return a line about the series, and a row for each kind."""
    count, rounds = document["guests"], document["rounds"]
    lines = [
        f"{count} guests of {document['ram_bytes'] // MIB} MiB at once, QEMU {document['qemu']},"
        f" {document['link_bps'] * 8 / 1e6:.0f} Mbit/s; QEMU decides, limit {document['limit_ms']} ms.",
        "",
        line(["", "rounds", "last guest, s", "first guest, s", "fairness", "on the link, MB", "downtime, ms",
              "within the limit", "pages that differ"]),
        line(["---", *["---:"] * 8]),
    ]  # fmt: skip
    for thinned, name in ((False, "plainly"), (True, "through one service")):
        found = [each for each in rounds if each["thinned"] is thinned]
        downtimes = [ms for each in found for ms in each["downtime_ms"]]
        differing = [pages for each in found for pages in each["differing_pages"]]
        lines.append(
            line([
                name, str(len(found)),
                _spread([max(each["took_s"]) for each in found], 1),
                _spread([min(each["took_s"]) for each in found], 1),
                _spread([fairness([1 / took for took in each["took_s"]]) for each in found], 3),
                _spread([each["link_bytes"] / 1e6 for each in found], 0),
                _spread(downtimes, 0),
                f"{sum(ms <= document['limit_ms'] for ms in downtimes)} of {len(downtimes)}",
                f"{sum(differing)} in {len(differing)}",
            ])
        )  # fmt: skip
    relays = [relay for each in rounds for relay in each.get("relays", ())]
    served = [each for each in rounds if each["thinned"]]
    share = mean(relay["out_bytes"] / relay["in_bytes"] for relay in relays)
    lines += [
        "",
        f"The relays sent {share:.2f} of the bytes they read. A relay's peak was"
        f" {_spread([relay['peak_rss_bytes'] / MIB for relay in relays], 0)} MiB with what all of them share,"
        f" the service's own {_spread([each['service_peak_bytes'] / MIB for each in served], 0)} MiB;"
        f" all together had at most {max(each['most_together_bytes'] for each in served) / MIB:.0f} MiB.",
    ]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{each:.{digits}f}" for each in (min(values), median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.crowd",
        description="The result file of python -m tests.qemu.crowd as a Markdown table.",
        epilog="example: python -m scripts.studies.crowd docs/results/crowd.json",
    )
    parser.add_argument("file", type=Path)
    sys.stdout.write(table(json.loads(parser.parse_args(arguments).file.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
