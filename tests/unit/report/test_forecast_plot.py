"""The picture of a forecast."""

from __future__ import annotations

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.forecast import CurvePoint
from pagethrift.report.drawing import picture
from pagethrift.report.forecast_plot import SIZE_IN, drawing, in_words
from tests.forecasts import forecast, mode

POINTS = (CurvePoint(1e7), CurvePoint(2e7, 8.0, 0.2), CurvePoint(4e7, 4.0, 0.1))
MADE = forecast(
    mode(curve=POINTS, converges_from_bps=2e7), mode("plain", curve=POINTS[:1]),
    mode("post", curve=POINTS[1:]), mode("xbzrle"),
)  # fmt: skip


def test_the_border_of_each_mode_is_said() -> None:
    assert in_words(MADE) == (
        "pagethrift: converges from 160 Mbit/s on. plain: converges on no link tried."
        " post: converges on every link tried."
    )
    svg = picture(drawing(MADE), SIZE_IN, ".svg", "Forecast", in_words(MADE)).decode()
    assert "pagethrift: converges from 160 Mbit/s on" in svg
    assert "limit 300 ms" in svg
    assert "xbzrle" not in svg


def test_other_endings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\.pdf is no kind of picture"):
        picture(drawing(MADE), SIZE_IN, ".pdf", "", "")
