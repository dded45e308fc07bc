"""Shared numbers are shared: what an operator, a scenario, a simulation and the engine begin with."""

from __future__ import annotations

import pytest

from pagethrift.cli.common import DEFAULT_DOWNTIME_LIMIT
from pagethrift.engine.thinner import Thinner
from pagethrift.lab.scenario import Scenario
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.model.defaults import (
    DOWNTIME_LIMIT_S,
    RELAY_BUFFER_MAX_BYTES,
    RELAY_BUFFER_MIN_BYTES,
    RELAY_BUFFER_S,
)
from pagethrift.relay.rate import LinkRate
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.strategies.table import strategy
from pagethrift.units import parse_seconds


def test_one_downtime_limit() -> None:
    thinner = Thinner(strategy("pagethrift"), bytes(32))
    assert {
        parse_seconds(DEFAULT_DOWNTIME_LIMIT),
        thinner.downtime_limit_s,
        MigrateOptions("s.qmp", "host:1").downtime_limit_s,
        Scenario("s").downtime_limit_s,
        SimulateOptions(LinkSpec(1)).downtime_limit_s,
    } == {DOWNTIME_LIMIT_S}


@pytest.mark.parametrize(
    ("rate_bps", "bound_bytes"),
    [(1.0, RELAY_BUFFER_MIN_BYTES), (12.5e6, int(12.5e6 * RELAY_BUFFER_S)), (1e12, RELAY_BUFFER_MAX_BYTES)],
)
def test_the_links_bound_in_between_and_at_its_ends(rate_bps: float, bound_bytes: int) -> None:
    assert LinkRate([], 0.0, rate_bps).bound_bytes == bound_bytes
