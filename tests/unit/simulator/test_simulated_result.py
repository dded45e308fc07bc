"""The record of a simulated migration: what may be said of which end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pagethrift.engine.decisions import Moment
from pagethrift.engine.rounds import RoundLog
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.model.result import MigrationResult, Mode, Outcome
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.simulated_result import End, build_result
from pagethrift.simulator.virtual_guest import VirtualGuest
from pagethrift.simulator.virtual_link import LinkSpec, VirtualLink
from pagethrift.simulator.virtual_relay import VirtualRelay
from pagethrift.simulator.virtual_source import VirtualSource
from pagethrift.strategies.table import strategy
from tests.unit.simulator.guests import PAGES, trace_of

SPEC = LinkSpec(4096.0)
DECISION = StopDecision(StopAction.SWITCH_OVER, "it fits", 0.25)


def result_of(
    end: End, name: str = "kvm-default", stop: str = "", nonzero_pages: int = PAGES
) -> MigrationResult:
    """Return the record of a migration that sent all six pages in its first round."""
    trace, row, link = trace_of(), strategy(name, stop), VirtualLink(SPEC)
    guest = VirtualGuest(trace)
    source = VirtualSource(guest, np.zeros(PAGES, np.uint8))
    relay = VirtualRelay(row, guest, source.bitmap, as_defined=False)
    link.send(relay.thin(source.take(PAGES, 0.0), Moment(0.0, 0, 4096.0, 0.3, False)) + 1000, 0.0)
    rounds = RoundLog(PAGES)
    rounds.begin(5.0, relay.totals, 0)
    options = SimulateOptions(SPEC, downtime_limit_s=0.4)
    return build_result(trace, row, options, relay, link, rounds, end, nonzero_pages, ("careful",))


def test_a_completed_one() -> None:
    found = result_of(End(Outcome.COMPLETED, 12.0, 0.5, decision=DECISION, stale_pages=2))
    assert (found.mode, found.strategy, found.simulated) == (Mode.RELAY, "kvm-default", True)
    assert (found.began_unix_s, found.ended_unix_s, found.total_time_s) == (0.0, 12.0, 12.0)
    assert (found.downtime_s, found.downtime_limit_s, found.bandwidth_bps) == (0.5, 0.4, 4096.0)
    assert (found.one_pass_bound_s, found.ratio) == (6.0, 2.0)
    assert (found.converged, found.stale_pages) == (True, 2)
    assert (found.switchover_reason, found.predicted_downtime_s) == ("it fits", 0.25)
    assert (found.first_round_bytes, found.retransferred_bytes) == (PAGES * 4104, 0)
    assert found.transferred_bytes == PAGES * 4104 + 1000
    assert (found.ram_bytes, found.pages.full, found.warnings) == (PAGES * 4096, PAGES, ("careful",))
    assert [(each.dirty_pages, each.pages.full) for each in found.rounds] == [(PAGES, PAGES), (0, 0)]


def test_a_forced_one_did_not_converge() -> None:
    found = result_of(End(Outcome.COMPLETED, 12.0, 0.5, forced_at_s=9.0, decision=DECISION))
    assert (found.converged, found.forced_at_s, found.ratio) == (False, 9.0, 2.0)


def test_a_failed_one_has_neither_ratio_nor_reason() -> None:
    found = result_of(End(Outcome.FAILED, 12.0, error="too slow", decision=DECISION))
    assert (found.outcome, found.error, found.converged) == (Outcome.FAILED, "too slow", False)
    assert (found.downtime_s, found.ratio, found.stale_pages) == (None, None, None)
    assert (found.switchover_reason, found.predicted_downtime_s) == ("", None)
    assert found.one_pass_bound_s == 6.0


def test_an_empty_guest_has_no_ratio() -> None:
    found = result_of(End(Outcome.COMPLETED, 1.0, 0.1), nonzero_pages=0)
    assert (found.one_pass_bound_s, found.ratio) == (0.0, None)
    assert (found.switchover_reason, found.predicted_downtime_s) == ("", None)


@pytest.mark.parametrize("stop", ["", "xen-libxl"])
def test_parameters_are_those_of_the_row_and_of_the_rule_that_replaced_its_own(stop: str) -> None:
    row = strategy("hu", stop)
    expected: dict[str, Any] = dict(row.parameters)
    if stop:
        assert row.stop_parameters
        expected |= {"stop": stop} | {f"stop.{name}": value for name, value in row.stop_parameters.items()}
    assert result_of(End(Outcome.COMPLETED, 1.0, 0.1), "hu", stop).parameters == expected
