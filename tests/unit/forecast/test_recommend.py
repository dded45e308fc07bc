"""The recommendation in clear cases, and its reason in one sentence."""

from __future__ import annotations

from typing import Any

from pagethrift.forecast.recommend import recommend
from pagethrift.model.forecast import Converges, Interval
from tests.forecasts import mode

NO: dict[str, Any] = {"converges": Converges.NO, "converged": 0, "total_time_s": None, "downtime_s": None}
LONG: dict[str, Any] = {"downtime_s": Interval(0.5, 0.6, 0.7)}
NEAR: dict[str, Any] = {"downtime_s": Interval(0.25, 0.32, 0.36)}


def test_the_shortest_that_keeps_the_limit() -> None:
    modes = [mode(total_s=10.0), mode("plain", 8.0, **LONG), mode("xbzrle:64MiB", 9.0, **NEAR)]
    found = recommend(modes, 0.3)
    assert found.name == "pagethrift"
    assert found.reason.startswith(
        "pagethrift takes 10.0 s (9.0 s to 11.0 s), the only mode sure to converge"
    )
    assert "plain: 8.0 s, downtime 600 ms" in found.reason
    assert found.reason.endswith(").")


def test_what_does_not_converge_is_never_chosen_however_short() -> None:
    modes = [mode("plain", 1.0, **NO), mode("xbzrle:64MiB", 2.0, converges=Converges.PERHAPS), mode()]
    assert recommend(modes, 0.3).name == "pagethrift"


def test_as_fast_and_simpler_wins() -> None:
    assert recommend([mode(total_s=10.0), mode("plain", 10.4)], 0.3).name == "plain"
    assert recommend([mode(total_s=10.0), mode("plain", 10.6)], 0.3).name == "pagethrift"
    with_cache = mode("xbzrle:64MiB", 10.0, features={"xbzrle-cache-size": 64 << 20})
    assert recommend([mode(total_s=10.2), with_cache], 0.3).name == "pagethrift"


def test_modes_that_cost_the_guest_something_are_never_chosen_but_named() -> None:
    modes = [mode(**NO), mode("post-copy", 5.0, caution="splits")]
    found = recommend(modes, 0.3, needed_s=1.2)
    assert found.name == ""
    assert found.options == ""
    assert "allow 1.2 s of downtime" in found.reason
    assert "post-copy may end it" in found.reason


def test_near_the_limit_when_none_keeps_it() -> None:
    found = recommend([mode("plain", 9.0, **NEAR), mode(**NO)], 0.3)
    assert found.name == "plain"
    assert "come near 300 ms" in found.reason
    assert recommend([mode("plain", 9.0, **LONG), mode(**NO)], 0.3).name == ""
