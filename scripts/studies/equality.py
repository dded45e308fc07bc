"""``python -m scripts.studies.equality RESULTS...``: in how many migrations all RAM was compared and equal.

``RESULTS`` are archives or folders of lab results, and result files of ``make soak``. One row for each mode.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.studies.rows import line

from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.units import format_bytes

HEADINGS = ("mode", "migrations compared", "of guests", "RAM", "with a page that differs")


@dataclass(slots=True)
class Row:
    """The compared migrations of one mode."""

    migrations: int = 0
    guests: frozenset[str] = frozenset()
    compared_bytes: int = 0
    unequal: int = 0

    def add(self, guest: str, compared_bytes: int, unequal: bool) -> None:
        """Count one more."""
        self.migrations += 1
        self.guests |= {guest}
        self.compared_bytes += compared_bytes
        self.unequal += unequal


def rows(paths: Iterable[Path]) -> dict[str, Row]:
    """Return a row for each mode that was compared. Raises UsageError."""
    found: dict[str, Row] = {}
    for path in paths:
        if path.suffix == ".json":
            hops = json.loads(path.read_text())["hops"]
            for strategy, multifd, compared in zip(
                hops["strategy"], hops["multifd"], hops["compared"], strict=True
            ):
                if compared:  # a hop whose RAM differs ends the soak as a fault
                    mode = f"{strategy}+multifd:2" if multifd else strategy
                    found.setdefault(mode, Row()).add("soak", 0, False)
            continue
        for each in find([path]):
            result = each.result
            if isinstance(result, RunResult) and result.ram is not None:
                ram = result.ram
                found.setdefault(result.mode, Row()).add(
                    result.scenario, ram.compared_bytes, ram.differing_pages > 0
                )
    return found


def markdown(found: dict[str, Row]) -> str:
    """Return the rows as a table, and their sum."""
    lines = [line(HEADINGS), line(["---", *["---:"] * 4])]
    whole = Row()
    for mode, row in sorted(found.items()):
        lines.append(line([f"`{mode}`", *_cells(row)]))
        whole.migrations += row.migrations
        whole.guests |= row.guests
        whole.compared_bytes += row.compared_bytes
        whole.unequal += row.unequal
    lines.append(line(["all", *_cells(whole)]))
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    size = format_bytes(row.compared_bytes) if row.compared_bytes else ""
    return [str(row.migrations), str(len(row.guests)), size, str(row.unequal)]


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.equality", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    sys.stdout.write(markdown(rows(parser.parse_args(arguments).results)))


if __name__ == "__main__":
    main(sys.argv[1:])
