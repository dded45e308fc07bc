"""Medians and their intervals against values known otherwise."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest

from pagethrift.report import estimate as module
from pagethrift.report.estimate import Estimate, Spread, estimate


def test_nothing_known_is_no_estimate() -> None:
    assert estimate([]) is None
    assert estimate([None, None]) is None


def test_one_value_has_no_interval() -> None:
    assert estimate([None, 3.0]) == Estimate(3.0, 3.0, 3.0, 1, Spread.NONE)


def test_few_values_give_smallest_and_largest() -> None:
    assert estimate([4.0, 1.0, 2.0, 9.0]) == Estimate(3.0, 1.0, 9.0, 4, Spread.RANGE)


def test_interval_is_that_of_all_possible_resamples() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    medians = sorted(statistics.median(sample) for sample in itertools.product(values, repeat=5))
    found = estimate(values)
    assert found is not None
    assert found.spread is Spread.BOOTSTRAP
    assert found.median == 4.0
    # medians of resamples are values themselves: 2.5 % and 97.5 % of all 3125
    assert (found.low, found.high) == (medians[int(0.025 * 3125)], medians[int(0.975 * 3125)])


def test_many_values_get_the_limit_of_resampling(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(value) for value in np.random.default_rng(1).lognormal(3.0, 0.5, 199)]
    resampled = estimate(values)
    monkeypatch.setattr(module, "MANY_RUNS", 5)
    computed = estimate(values)
    assert resampled is not None
    assert computed is not None
    assert (computed.low, computed.high) == pytest.approx((resampled.low, resampled.high), rel=0.01)
    few = [1.0, 2.0, 4.0, 8.0, 16.0]
    medians = sorted(statistics.median(sample) for sample in itertools.product(few, repeat=5))
    computed = estimate(few)
    assert computed is not None
    assert (computed.low, computed.high) == (medians[int(0.025 * 3125)], medians[int(0.975 * 3125)])
    assert estimate([5.0] * 300) == Estimate(5.0, 5.0, 5.0, 300, Spread.BOOTSTRAP)


def test_order_of_runs_changes_nothing() -> None:
    values = [3.1, 2.7, 9.4, 4.4, 5.0, 1.2, 8.8]
    assert estimate(values) == estimate(reversed(values))


@pytest.mark.filterwarnings("error")
def test_equal_values_have_an_empty_interval() -> None:
    assert estimate([5.0] * 6) == Estimate(5.0, 5.0, 5.0, 6, Spread.BOOTSTRAP)
