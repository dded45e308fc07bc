"""The one prediction of the downtime, with the arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagethrift.model.facts import StopAction, StopFacts
from pagethrift.strategies.stop.prediction import (
    DEVICE_STATE_BYTES,
    FIXED_DOWNTIME_S,
    STOP_DELAY_S,
    bytes_per_dirty_page,
    longest_downtime_s,
    pending_pages,
    predicted_downtime_s,
)
from pagethrift.strategies.stop_table import STOPS
from tests.unit.strategies.facts import stop_facts

FACTS = StopFacts(
    now_s=20.0, round=3, round_began_s=18.0, total_pages=262_144, remaining_pages=1000,
    dirty_pages_per_s=500.0, first_round_bytes=1_000_000_000, retransferred_bytes=20_000_000,
    round_sent_bytes=(1_000_000_000, 20_000_000),
    round_dirty_pages=(262_144, 10_000), retransferred_pages=10_000, held_bytes=0, unsent_bytes=0,
    link_bps=12_500_000.0, downtime_limit_s=0.3,
)  # fmt: skip


def test_pending_is_what_remains_and_what_was_dirtied_since() -> None:
    assert pending_pages(FACTS) == 1000 + 500 * 2
    assert pending_pages(FACTS, 0.5) == 1000 + 500 * 2.5
    assert pending_pages(replace(FACTS, now_s=17.0)) == 1000, "clocks may step back a little"
    assert pending_pages(replace(FACTS, remaining_pages=262_000)) == 262_144
    assert pending_pages(replace(FACTS, round=0, remaining_pages=5)) == 262_144


def test_a_dirty_page_costs_what_it_has_cost() -> None:
    assert bytes_per_dirty_page(FACTS) == 2000
    assert bytes_per_dirty_page(replace(FACTS, retransferred_pages=63)) == 4104, "too few to know"
    assert bytes_per_dirty_page(replace(FACTS, retransferred_pages=64, retransferred_bytes=0)) == 0


def test_prediction_counts_everything_that_must_still_cross_the_link() -> None:
    owed = (2000 + 500 * STOP_DELAY_S) * 2000 + DEVICE_STATE_BYTES  # dirtied until STOP, too
    assert predicted_downtime_s(FACTS) == pytest.approx(FIXED_DOWNTIME_S + owed / 12.5e6)
    more = replace(FACTS, held_bytes=500_000, unsent_bytes=300_000)
    assert predicted_downtime_s(more) == pytest.approx(FIXED_DOWNTIME_S + (owed + 800_000) / 12.5e6)
    assert predicted_downtime_s(replace(FACTS, link_bps=0.0)) is None


def test_pages_that_all_have_to_be_compressed_take_the_compressors_time() -> None:
    """A page that is nearly as before is 30 bytes on the link, and as much work as another."""
    pages = 2000 + 500 * STOP_DELAY_S
    slow = replace(FACTS, compressor_pages_per_s=1000.0, held_pages=50)
    assert predicted_downtime_s(slow) == pytest.approx(FIXED_DOWNTIME_S + (pages + 50) / 1000)
    assert predicted_downtime_s(replace(FACTS, compressor_pages_per_s=1e6)) == predicted_downtime_s(FACTS)
    assert predicted_downtime_s(replace(slow, link_bps=0.0)) is None


def test_nothing_is_predicted_in_the_first_pass() -> None:
    """Of a guest that is nearly all zero 1 GiB "remains", which costs less than 3 MB of the link."""
    first = replace(FACTS, round=0, remaining_pages=262_000, retransferred_pages=0, retransferred_bytes=0)
    assert predicted_downtime_s(first) is None
    assert predicted_downtime_s(replace(first, round=1)) is not None


def test_the_bound_is_every_page_in_full() -> None:
    owed = 262_144 * 4104 + DEVICE_STATE_BYTES
    assert longest_downtime_s(262_144, 12.5e6) == pytest.approx(FIXED_DOWNTIME_S + owed / 12.5e6)
    assert longest_downtime_s(262_144, 0.0) is None
    worst = replace(FACTS, remaining_pages=262_144, retransferred_pages=0)
    assert longest_downtime_s(262_144, FACTS.link_bps) == predicted_downtime_s(worst)


@pytest.mark.parametrize("name", STOPS)
def test_every_rule_that_switches_over_says_what_is_predicted(name: str) -> None:
    rule, decided = STOPS[name].make(), 0
    for round_ in range(1, 60):
        facts = stop_facts([10] * round_, now_s=100.0 * round_, link_bps=12.5e6)
        decision = rule.decide(facts)
        if decision.action is StopAction.SWITCH_OVER:
            decided += 1
            assert decision.predicted_downtime_s == predicted_downtime_s(facts)
    assert decided or name == "post-copy"
