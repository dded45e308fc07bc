"""``python -m scripts.studies.fleet.sizes FOLDER``: the sizes of studies/fleet.toml, from their source.

FOLDER is resources/ of a clone of github.com/huaweicloud/trace_generation_rnn, which has the virtual machines
of the Azure Public Dataset V1 (CC BY 4.0) as sequences of flavours and durations. Counted are the machines of
two windows whose durations begin with C: they still ran when the window ended, like those that a drain finds.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

WINDOWS = (("v1.dev.txt", "v1.dev.c2100000.txt"), ("v1.test.txt", "v1.test.c2591400.txt"))
BOUND = "|"
"""between batches of one subscription"""


def counted(folder: Path) -> Counter[str]:
    """Return how many machines have how many GiB."""
    gib = {}
    for row in (folder / "maps/flav_map.txt").read_text().splitlines():
        flavour, letter = row.split()
        gib[letter] = flavour.partition(",")[2]
    found: Counter[str] = Counter()
    for flavours, durations in WINDOWS:
        for one, other in zip(
            _rows(folder / "traces" / flavours), _rows(folder / "traces" / durations), strict=True
        ):
            for letter, duration in zip(one, other, strict=True):
                if duration.startswith("C"):
                    found[gib[letter]] += 1
    return found


def _rows(path: Path) -> list[list[str]]:
    return [
        [each for each in row.partition(" ")[2].split(",") if each and each != BOUND]
        for row in path.read_text().splitlines()
    ]


def main(arguments: list[str]) -> None:
    """Print the counts as TOML."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.fleet.sizes", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="resources/ of the clone")
    for size, count in sorted(
        counted(parser.parse_args(arguments).folder).items(), key=lambda each: float(each[0])
    ):
        print(f'"{size}" = {count}')


if __name__ == "__main__":
    main(sys.argv[1:])
