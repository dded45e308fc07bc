"""Medians with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

BOOTSTRAP_RUNS = 5
"""with fewer runs resampling only repeats the few values: smallest and largest say more"""
CONFIDENCE = 0.95
RESAMPLES = 9999
MANY_RUNS = 200
"""from so many values on the interval is computed: 9999 resamples of 3000 take 0.3 s, 250 MB a measure"""
_SEED = 2021
"""an arbitrary constant, so that the same files give the same report"""


class Spread(StrEnum):
    """The meaning of ``low`` and ``high`` of an estimate."""

    NONE = "none"
    """one run: nothing is known about the spread"""
    RANGE = "range"
    """smallest and largest"""
    BOOTSTRAP = "bootstrap"
    """interval of the median"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The median of some runs."""

    median: float
    low: float
    high: float
    runs: int
    spread: Spread


def estimate(values: Iterable[float | None]) -> Estimate | None:
    """Return median and spread of the known values; None when no value is known.

    From ``BOOTSTRAP_RUNS`` values on the spread is the 95 % percentile bootstrap interval of the median
    (Efron 1979). Not BCa: its acceleration is undefined for the median of tied values. From ``MANY_RUNS`` on
    it is what more and more resamples tend to.
    """
    # sorted: the order of files must not change the resamples
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    median, low, high = statistics.median(known), known[0], known[-1]
    if len(known) == 1:
        return Estimate(median, low, high, 1, Spread.NONE)
    if len(known) < BOOTSTRAP_RUNS:
        return Estimate(median, low, high, len(known), Spread.RANGE)
    low, high = _bootstrap(tuple(known)) if len(known) < MANY_RUNS else _bootstrap_limit(known)
    return Estimate(median, low, high, len(known), Spread.BOOTSTRAP)


@lru_cache(maxsize=1024)
def _bootstrap(values: tuple[float, ...]) -> tuple[float, float]:
    # cached: tables, comparisons and overviews ask for the same values
    # imported here: importing scipy.stats takes as long as a whole small report
    import numpy as np
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.array(values, np.float64),), np.median, axis=-1, method="percentile",
        confidence_level=CONFIDENCE, n_resamples=RESAMPLES, rng=np.random.default_rng(_SEED),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def _bootstrap_limit(values: list[float]) -> tuple[float, float]:
    """Return the percentile interval of the median over all resamples of sorted values.

    The median of a resample is at most the k-th value if at least half of its draws are: a binomial.
    """
    import numpy as np
    from scipy.stats import binom

    count = len(values)
    at_most = binom.sf((count + 1) // 2 - 1, count, np.arange(1, count + 1) / count)
    low, high = np.searchsorted(at_most, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return values[low], values[min(int(high), count - 1)]
