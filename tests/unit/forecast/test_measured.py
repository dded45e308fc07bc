"""The table of what was measured: for every family, and what its script makes of the result files now."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scripts.studies import forecast_table

from pagethrift.forecast.candidates import candidates
from pagethrift.forecast.measured import Family, errors, relay_cost

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("family", list(Family))
def test_every_family_was_compared_with_live_runs(family: Family) -> None:
    found = errors(family)
    assert found.groups >= 5
    assert 0 <= found.agreed <= found.groups
    for values in (found.total_time, found.data, found.downtime_s):
        assert len(values) == 10
        assert (np.diff(values) >= 0).all()
    assert 0.9 < np.median(found.total_time) < 1.1


def test_a_relay_costs_more_with_channels_and_content() -> None:
    cost = relay_cost()
    assert cost.cpu_s(0, 10_000) > cost.cpu_s(10_000, 0) > cost.cpu_s(0, 0) >= 0
    assert cost.peak_rss_bytes(1e5, 2) > cost.peak_rss_bytes(1e5, 0) > cost.peak_rss_bytes(0, 0) > 10 << 20


def test_every_mode_has_a_family_of_its_own_kind() -> None:
    for each in candidates(1000):
        assert (each.family in (Family.PLAIN, Family.XBZRLE, Family.AUTO_CONVERGE, Family.POST_COPY)) == (
            each.plain
        )
        assert (each.family is Family.CHANNELS) == bool(each.channels)


@pytest.mark.slow
def test_the_table_is_of_the_result_files() -> None:
    made = forecast_table.table(ROOT / "docs/results")
    assert made == json.loads((ROOT / forecast_table.TARGET).read_text())
