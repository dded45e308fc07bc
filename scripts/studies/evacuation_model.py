"""``python -m scripts.studies.evacuation_model FORECAST.json...``: many evacuations in the model, as a table.

Guests are drawn from the given forecasts (``pagethrift forecast --plot``), each with one of some sizes:
total time and bytes grow with the size, what it needs to converge does not. Each host is emptied by plan
and by each baseline. The seed makes the draws the same again.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from scripts.studies.rows import line

from pagethrift.evacuation.costs import Costs
from pagethrift.evacuation.forecasts import foretold
from pagethrift.evacuation.link import Links
from pagethrift.evacuation.planner import BASELINES, PLANNED, choose
from pagethrift.evacuation.policy import Leaver
from pagethrift.evacuation.timetable import Timetable
from pagethrift.given_file import read_json
from pagethrift.units import format_bandwidth, format_bytes, format_seconds, parse_bandwidth, parse_seconds

SIZES = (1.0, 2.0, 4.0, 8.0)
HEADINGS = ("order", "hosts empty in time", "guests late", "last out", "on the link")


def sized(costs: Costs, factor: float) -> Costs:
    """Return the costs of a guest with so many times the memory that is written as little as before."""
    return replace(
        costs,
        points=tuple(
            replace(
                each,
                estimate=replace(
                    each.estimate,
                    total_s=each.estimate.total_s.scaled(factor),
                    bytes=each.estimate.bytes.scaled(factor),
                ),
            )
            for each in costs.points
        ),
    )


def hosts(
    forecasts: Sequence[Path],
    count: int,
    guests: int,
    links: Links,
    at_once: int,
    deadline_s: float,
    seed: int,
) -> dict[str, list[Timetable]]:
    """Return for each order what it comes to on each of ``count`` hosts."""
    known = [foretold(read_json(path)) for path in forecasts]
    draw, found = random.Random(seed), {name: list[Timetable]() for name in (PLANNED, *BASELINES)}
    places = tuple(links.destinations)
    for _ in range(count):
        drawn = {}
        for number in range(guests):
            one, factor, name = draw.choice(known), draw.choice(SIZES), f"g{number}"
            costs = sized(one.costs.within(one.limit_s), factor)
            drawn[name] = Leaver(name, places[number % len(places)], costs, ram_bytes=one.ram_bytes * factor)
        choice = choose(drawn, links, at_once, deadline_s)
        for each in (choice.chosen, *choice.baselines):
            found[each.policy.name].append(each)
    return found


def table(found: dict[str, list[Timetable]], deadline_s: float) -> str:
    """Return a row for each order; medians over the hosts, and the extremes of the time of the last."""
    rows = [line(HEADINGS), line(("---", *["---:"] * (len(HEADINGS) - 1)))]
    for name, each in found.items():
        late = [len(one.late(deadline_s)) for one in each]
        lasts = [
            one.last_out_s if all(math.isfinite(o.out_s) for o in one.leavings) else math.inf for one in each
        ]
        rows.append(
            line(
                (
                    name, f"{late.count(0)} of {len(each)}", f"{median(late):g} ({min(late)} to {max(late)})",
                    f"{_time(median(lasts))} ({_time(min(lasts))} to {_time(max(lasts))})",
                    format_bytes(median(one.bytes for one in each)),
                )
            )
        )  # fmt: skip
    return "\n".join(rows)


def _time(seconds: float) -> str:
    return format_seconds(seconds) if math.isfinite(seconds) else "never"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.studies.evacuation_model",
        description="Hosts of guests drawn from forecasts, emptied by plan and by each baseline.",
        epilog="example: python -m scripts.studies.evacuation_model web.json --guests 50 --hosts 20",
    )
    parser.add_argument("forecasts", type=Path, nargs="+", help="written by pagethrift forecast --out")
    parser.add_argument("--guests", type=int, default=50, help="of each host")
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--bandwidth", default="10Gbit", help="of the host")
    parser.add_argument("--destinations", type=int, default=2, help="each with the host's bandwidth")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--deadline", default="10min")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    bps, deadline_s = float(parse_bandwidth(given.bandwidth)), parse_seconds(given.deadline)
    links = Links(bps, {f"d{number}": bps for number in range(given.destinations)})
    found = hosts(given.forecasts, given.hosts, given.guests, links, given.at_once, deadline_s, given.seed)
    print(
        f"{given.hosts} hosts with {given.guests} guests each, link {format_bandwidth(bps)},"
        f" deadline {format_seconds(deadline_s)}, at most {given.at_once} at once, seed {given.seed}.\n"
    )
    print(table(found, deadline_s))


if __name__ == "__main__":
    main()
