"""Interleaved rounds and their summary: medians, spread, ratios taken within a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run."""

    elapsed_s: float
    in_bytes: int
    pages: int
    cpu_s: float | None = None
    peak_rss_bytes: int | None = None
    startup_s: float | None = None
    out_bytes: int | None = None

    def row(self) -> dict[str, float]:
        """Return what is reported of it."""
        values: dict[str, float | None] = {
            "mb_per_s": self.in_bytes / self.elapsed_s / 1e6,
            "ns_per_page": self.elapsed_s * 1e9 / max(1, self.pages),
            "cpu_s_per_gb": None if self.cpu_s is None else self.cpu_s / (self.in_bytes / 1e9),
            "peak_rss_mib": None if self.peak_rss_bytes is None else self.peak_rss_bytes / 2**20,
            "startup_s": self.startup_s,
            "out_share": None if self.out_bytes is None else self.out_bytes / self.in_bytes,
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(slots=True)
class Summary:
    """All rounds of one measure."""

    rounds: list[dict[str, float]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return each figure's median, extremes and rounds."""
        figures = {key for row in self.rounds for key in row}
        return {key: spread([row[key] for row in self.rounds if key in row]) for key in sorted(figures)}


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, minimum, maximum and the values in the order they were taken."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "rounds": [round(value, 4) for value in values],
    }


def interleave(
    measures: Mapping[str, Callable[[], Sample]],
    rounds: int,
    warm_ups: int,
    baseline: str,
    say: Callable[[str], None] = lambda text: None,
    ratio: str = "percent_of_cat",
) -> dict[str, Summary]:
    """Run every measure once a round, in an order that alternates, warm-up rounds apart.

    ``baseline`` names the measure that the figure ``ratio`` compares with, within each round.
    """
    summaries = {name: Summary() for name in measures}
    for turn in range(-warm_ups, rounds):
        names = list(measures) if turn % 2 == 0 else list(measures)[::-1]
        taken: dict[str, dict[str, float]] = {}
        for name in names:
            taken[name] = measures[name]().row()
        if turn < 0:
            continue
        base = taken[baseline]["mb_per_s"] if baseline in taken else 0.0
        for name, row in taken.items():
            if base:
                row[ratio] = 100 * row["mb_per_s"] / base
            summaries[name].rounds.append(row)
        say(f"round {turn + 1}/{rounds}")
    return summaries
