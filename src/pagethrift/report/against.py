"""pagethrift against the best of QEMU's own modes, measure by measure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pagethrift.model.result import Mode
from pagethrift.report.estimate import Estimate, estimate
from pagethrift.report.measures import MEASURES, Measure, interval
from pagethrift.report.runs import Run
from pagethrift.report.summary import by_mode, timed

OWN = "pagethrift"
"""the strategy that is compared, with any parameters"""
FEWEST_RUNS = 3
"""with fewer runs no difference can be claimed"""
CLOSE_S = 1800.0
"""runs of a pair began within this time, so that the machine was the same"""


class Verdict(StrEnum):
    """The outcome of a comparison, in words."""

    WINS = "pagethrift wins"
    LOSES = "pagethrift LOSES"
    UNCLEAR = "no clear difference"
    TOO_FEW = "too few runs to tell"

    @property
    def word(self) -> str:
        """The outcome without its subject."""
        return self.value.removeprefix("pagethrift ")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of one mode of pagethrift against the best other."""

    measure: Measure
    best: str
    """QEMU's own mode with the best median"""
    best_forced: bool
    """whether a run of that mode had to be forced"""
    own: Estimate
    other: Estimate
    ratio: Estimate | None
    """own / other; None when a measure is 0"""
    pairs: int
    """runs of the same repetition in one folder, compared with each other; 0 = medians compared"""
    verdict: Verdict

    @property
    def shown_ratio(self) -> str:
        """The ratio with its interval, and the number of its pairs."""
        if self.ratio is None:
            return "-"
        of = {0: "medians, no pairs", 1: "one pair"}.get(self.pairs, f"{self.pairs} pairs")
        return f"{self.ratio_in_words}, {of}"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison for programs."""
        ratio = self.ratio and {name: getattr(self.ratio, name) for name in ("median", "low", "high")}
        return {
            "measure": self.measure.key,
            "own": self.own.median,
            "best": self.best,
            "best_forced": self.best_forced,
            "other": self.other.median,
            "ratio": ratio,
            "pairs": self.pairs,
            "verdict": self.verdict.value,
        }

    @property
    def ratio_in_words(self) -> str:
        """The ratio with its interval."""
        return ratio_in_words(self.ratio)


def ratio_in_words(ratio: Estimate | None) -> str:
    """Return ``0.69 (0.67 to 0.71)``."""
    return interval(ratio, "{:.2f}".format)


def comparisons(runs: Iterable[Run]) -> dict[str, list[Comparison]]:
    """Compare every mode that runs pagethrift's strategy; empty without one or without QEMU's own modes."""
    own, others = _sides(runs)
    if not others:
        return {}
    return {mode: [c for m in MEASURES if (c := _compare(m, group, others))] for mode, group in own.items()}


def against(measure: Measure, runs: Iterable[Run]) -> dict[str, Estimate | None]:
    """Return the ratio of one measure, mode OWN / each of QEMU's own modes; empty without mode OWN."""
    own, others = _sides(runs)
    return {mode: _ratio(measure, own[OWN], group)[0] for mode, group in others.items() if OWN in own}


def _sides(runs: Iterable[Run]) -> tuple[dict[str, list[Run]], dict[str, list[Run]]]:
    modes = by_mode(run for run in timed(runs) if run.completed and not run.migration.simulated)
    own = {mode: group for mode, group in modes.items() if group[0].migration.strategy == OWN}
    return own, {mode: group for mode, group in modes.items() if group[0].migration.mode is Mode.PLAIN}


def _ratio(measure: Measure, own: list[Run], other: list[Run]) -> tuple[Estimate | None, int]:
    """Return own / other and the number of pairs; 0: a ratio of the medians."""
    ratios = _paired_ratios(measure, own, other)
    if ratios:
        return estimate(ratios), len(ratios)
    ours, theirs = _median(measure, own), _median(measure, other)
    return estimate([ours / theirs] if ours is not None and theirs else []), 0


def _compare(measure: Measure, own: list[Run], others: dict[str, list[Run]]) -> Comparison | None:
    if not measure.compared:
        return None
    medians = {mode: of for mode, group in others.items() if (of := _median(measure, group)) is not None}
    found = _estimate(measure, own)
    if found is None or not medians:
        return None
    sign = -1 if measure.more_is_better else 1
    best = min(medians, key=lambda mode: sign * medians[mode])
    theirs = _estimate(measure, others[best])
    assert theirs is not None
    ratio, pairs = _ratio(measure, own, others[best])
    return Comparison(
        measure=measure,
        best=best,
        best_forced=any(not run.migration.converged for run in others[best]),
        own=found,
        other=theirs,
        ratio=ratio,
        pairs=pairs,
        verdict=_verdict(ratio, pairs, measure.more_is_better),
    )


def _estimate(measure: Measure, runs: list[Run]) -> Estimate | None:
    return estimate(measure.of(run) for run in runs)


def _median(measure: Measure, runs: list[Run]) -> float | None:
    known = [value for run in runs if (value := measure.of(run)) is not None]
    return statistics.median(known) if known else None


def _paired_ratios(measure: Measure, own: list[Run], other: list[Run]) -> list[float]:
    """Return own / other for each repetition that both have, begun within CLOSE_S of each other.

    Empty when any of the other's values is 0: without that pair the ratio would flatter.
    """
    others = {(run.call, run.repetition): run for run in other}
    ratios = []
    for run in own:
        paired = others.get((run.call, run.repetition))
        if paired is None or abs(_began_s(run) - _began_s(paired)) > CLOSE_S:
            continue
        value, against = measure.of(run), measure.of(paired)
        if against == 0:
            return []
        if value is not None and against is not None:
            ratios.append(value / against)
    return ratios


def _began_s(run: Run) -> float:
    return run.migration.began_unix_s


def _verdict(ratio: Estimate | None, pairs: int, more_is_better: bool) -> Verdict:
    if pairs < FEWEST_RUNS:
        return Verdict.TOO_FEW
    if ratio is None or ratio.low <= 1 <= ratio.high:
        return Verdict.UNCLEAR
    return Verdict.WINS if (ratio.median > 1) is more_is_better else Verdict.LOSES
