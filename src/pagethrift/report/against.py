"""pagethrift against the best of QEMU's own ways, measure by measure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pagethrift.model.result import Mode
from pagethrift.report.estimate import Estimate, Spread, estimate
from pagethrift.report.measures import MEASURES, Measure, interval
from pagethrift.report.record import Run
from pagethrift.report.summary import by_mode, timed

OWN = "pagethrift"
"""the strategy that is compared, with whatever parameters"""


class Verdict(StrEnum):
    """The outcome in words."""

    WINS = "pagethrift wins"
    LOSES = "pagethrift LOSES"
    UNCLEAR = "no clear difference"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of one mode of pagethrift against the best other."""

    measure: Measure
    best: str
    """QEMU's own way with the best median"""
    best_forced: bool
    """whether a run of it had to be forced"""
    own: Estimate
    other: Estimate
    ratio: Estimate | None
    """own / other; None when a measure is 0"""
    pairs: int
    """runs of the same repetition in one folder, compared with each other; 0 = medians compared"""
    verdict: Verdict

    @property
    def shown_ratio(self) -> str:
        """The ratio with its interval, and what it was taken from."""
        if self.ratio is None:
            return "-"
        of = {0: "medians, no pairs", 1: "one pair"}.get(self.pairs, f"{self.pairs} pairs")
        return f"{interval(self.ratio, '{:.2f}'.format)}, {of}"


def comparisons(runs: Iterable[Run]) -> dict[str, list[Comparison]]:
    """Compare every mode that runs pagethrift's strategy; empty without one or without QEMU's own ways."""
    runs = [run for run in timed(runs) if run.completed and not run.migration.simulated]
    modes = by_mode(runs)
    own = {m: group for m, group in modes.items() if group[0].migration.strategy == OWN}
    others = {m: group for m, group in modes.items() if group[0].migration.mode is Mode.PLAIN}
    if not others:
        return {}
    return {mode: [c for m in MEASURES if (c := _compare(m, group, others))] for mode, group in own.items()}


def _compare(measure: Measure, own: list[Run], others: dict[str, list[Run]]) -> Comparison | None:
    if not measure.compared:
        return None
    medians = {mode: found for mode, group in others.items() if (found := _estimate(measure, group))}
    found = _estimate(measure, own)
    if found is None or not medians:
        return None
    sign = -1 if measure.more_is_better else 1
    best = min(medians, key=lambda mode: sign * medians[mode].median)
    ratios = _paired_ratios(measure, own, others[best])
    other = medians[best]
    of_medians = [found.median / other.median] if other.median else []
    ratio = estimate(ratios or of_medians)
    return Comparison(
        measure=measure,
        best=best,
        best_forced=any(not run.migration.converged for run in others[best]),
        own=found,
        other=other,
        ratio=ratio,
        pairs=len(ratios),
        verdict=_verdict(ratio, measure.more_is_better),
    )


def _estimate(measure: Measure, runs: list[Run]) -> Estimate | None:
    return estimate(measure.of(run) for run in runs)


def _paired_ratios(measure: Measure, own: list[Run], other: list[Run]) -> list[float]:
    """Return own / other for each repetition both have: such runs were made close to each other."""
    others = {(run.folder, run.repetition): measure.of(run) for run in other}
    ratios = []
    for run in own:
        value, against = measure.of(run), others.get((run.folder, run.repetition))
        if value is not None and against:
            ratios.append(value / against)
    return ratios


def _verdict(ratio: Estimate | None, more_is_better: bool) -> Verdict:
    if ratio is None or ratio.low <= 1 <= ratio.high:
        return Verdict.UNCLEAR
    # one run or two medians say nothing about chance: below 2 % nobody should call it a difference
    if ratio.spread is Spread.NONE and abs(ratio.median - 1) < 0.02:
        return Verdict.UNCLEAR
    return Verdict.WINS if (ratio.median > 1) is more_is_better else Verdict.LOSES
