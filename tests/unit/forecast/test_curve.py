"""Where a mode stops converging."""

from __future__ import annotations

import numpy as np
import pytest

from pagethrift.forecast.candidates import candidates
from pagethrift.forecast.curve import converges_from, next_bandwidth, points
from pagethrift.forecast.measured import Family, errors
from pagethrift.forecast.play import Played, Task
from pagethrift.model.forecast import CurvePoint


def line(*fates: bool) -> list[CurvePoint]:
    return [
        CurvePoint(10.0 * 2**i, 1.0, 0.1) if ends else CurvePoint(10.0 * 2**i) for i, ends in enumerate(fates)
    ]


@pytest.mark.parametrize(
    ("fates", "border"),
    [
        ((False, False, True, True), 40.0),
        ((False, True, False, True), 80.0),
        ((True, True), None),
        ((False, False), None),
        ((True, False), None),
        ((), None),
    ],
)
def test_the_border_is_above_the_fastest_link_that_fails(
    fates: tuple[bool, ...], border: float | None
) -> None:
    curve = line(*fates)
    assert converges_from(curve) == border
    tried = next_bandwidth(curve)
    assert (tried is None) == (border is None)
    if tried is not None and border is not None:
        assert border / 2 < tried < border


def test_points_are_in_order_and_corrected() -> None:
    plain = next(each for each in candidates(1000) if each.name == "post-copy")
    wrong = errors(Family.POST_COPY)

    def one(bandwidth_bps: float, converged: bool) -> tuple[Task, Played]:
        task = Task(plain, bandwidth_bps, 0.0, 0.3, 60.0)
        return task, Played(converged, converged, 10.0, 0.1, 10**8, 20_000, 0, 16_000.0)

    lost, found = points([one(2e7, True), one(1e7, False)])
    assert (lost.bandwidth_bps, lost.total_time_s, lost.downtime_s) == (1e7, None, None)
    assert found.total_time_s == pytest.approx(10.0 * np.median(wrong.total_time))
    assert found.downtime_s == pytest.approx(0.1 + np.median(wrong.downtime_s))
