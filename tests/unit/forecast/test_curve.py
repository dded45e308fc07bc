"""Where a mode stops converging."""

from __future__ import annotations

import pytest

from pagethrift.forecast.curve import converges_from, next_bandwidth
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
