"""``python -m scripts.studies.table SWEEP.parquet``: a sweep as Markdown, with published figures beside ours.

TT total time, TD bytes of the first round, RD retransferred bytes, DT downtime. Rows that differ in
their seed only are one row: medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scripts.studies import summary
from scripts.studies.rows import label, line

from pagethrift.units import format_bandwidth, format_bytes, format_seconds

BASELINE = "kvm-default"
PUBLISHED: Mapping[str, str] = {
    "xen": "DT 60 ms (game server)",
    "hu": "time -70 %, data -25 % (kernel build)",
    "lin": "data -30 %",
    "tpo": "pages -71.1 %, time -70.4 %, DT -3.4 %",
    "wang": "time -72 %",
}
"""what docs/strategies.md quotes; against pre-copy as each paper ran it, on its own workload"""
NOTE = (
    "Time and data (TD + RD) are against `kvm-default` on the same trace and link. Published figures are of"
    " the papers' own workloads (named where the paper, or what quotes it, names one): not comparable with"
    " ours."
)
HEADINGS = ("strategy", "ended", "TT", "TD", "RD", "DT", "time", "data", "published")


@dataclass(frozen=True, slots=True)
class Case:
    """What all rows of one table have in common."""

    bandwidth_bps: int
    speed: float
    delay_s: float
    downtime_limit_s: float
    trace: str

    @property
    def link(self) -> str:
        """The heading of this link."""
        parts = [
            format_bandwidth(self.bandwidth_bps),
            f"downtime limit {format_seconds(self.downtime_limit_s)}",
        ]
        if self.delay_s:
            parts.append(f"delay {format_seconds(self.delay_s)}")
        if self.speed != 1:
            parts.append(f"scaled traces: guests {self.speed:g} times as fast as recorded")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Measures:
    """Medians over the seeds of one strategy; None where a migration did not complete."""

    ended: str
    total_time_s: float
    first_round_bytes: float
    retransferred_bytes: float
    downtime_s: float | None


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the tables of a sweep's rows (as dicts of its columns)."""
    cases: dict[Case, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        case = Case(
            row["bandwidth_bps"], row["speed"], row["delay_s"], row["downtime_limit_s"],
            row["trace"].removesuffix(".parquet"),
        )  # fmt: skip
        cases.setdefault(case, {}).setdefault(label(row), []).append(row)
    lines = [NOTE]
    link = ""
    for case, strategies in cases.items():
        if case.link != link:
            link = case.link
            lines += ["", f"## {link}"]
        lines += ["", f"### {case.trace}", "", line(HEADINGS), line(["---"] * len(HEADINGS))]
        measured = {name: _measures(group) for name, group in strategies.items()}
        baseline = measured.get(BASELINE)
        lines += [line(_cells(name, each, baseline)) for name, each in measured.items()]
        lines += _notes(strategies)
    return "\n".join(lines) + "\n"


def _measures(group: list[Mapping[str, Any]]) -> Measures:
    downtimes = [row["downtime_s"] for row in group if row["downtime_s"] is not None]
    return Measures(
        ended=_ended(group),
        total_time_s=statistics.median(row["total_time_s"] for row in group),
        first_round_bytes=statistics.median(row["first_round_bytes"] for row in group),
        retransferred_bytes=statistics.median(row["retransferred_bytes"] for row in group),
        downtime_s=statistics.median(downtimes) if downtimes else None,
    )


def _ended(group: list[Mapping[str, Any]]) -> str:
    ways = {
        "itself" if row["converged"] else "forced" if row["outcome"] == "completed" else "not at all"
        for row in group
    }
    return " / ".join(sorted(ways))


def _notes(strategies: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    """Return the simulator's warnings, each with the strategies it was given for."""
    found: dict[str, list[str]] = {}
    for name, group in strategies.items():
        for warning in dict.fromkeys(text for row in group for text in row["warnings"].split("; ") if text):
            if not warning.startswith("scaled trace"):
                found.setdefault(warning, []).append(f"`{name}`")
    return ["", *(f"* {', '.join(labels)}: {warning}" for warning, labels in found.items())] if found else []


def _cells(name: str, each: Measures, baseline: Measures | None) -> list[str]:
    sent = each.first_round_bytes + each.retransferred_bytes
    before = baseline.first_round_bytes + baseline.retransferred_bytes if baseline else None
    return [
        f"`{name}`",
        each.ended,
        format_seconds(each.total_time_s),
        format_bytes(each.first_round_bytes),
        format_bytes(each.retransferred_bytes),
        "-" if each.downtime_s is None else format_seconds(each.downtime_s),
        _change(each.total_time_s, baseline.total_time_s if baseline else None),
        _change(sent, before),
        PUBLISHED.get(name, ""),
    ]


def _change(value: float, before: float | None) -> str:
    return f"{value / before - 1:+.0%}" if before else ""


def main(arguments: list[str]) -> None:
    """Print the tables of a sweep."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.table", description=__doc__)
    parser.add_argument(
        "sweep", type=Path, metavar="SWEEP.parquet", help="results.parquet of pagethrift sweep"
    )
    parser.add_argument(
        "--over-traces", action="store_true", help="one table a link, medians over the traces"
    )
    chosen = parser.parse_args(arguments)
    tables = summary.markdown if chosen.over_traces else markdown
    sys.stdout.write(tables(pq.read_table(chosen.sweep).to_pylist()))


if __name__ == "__main__":
    main(sys.argv[1:])
