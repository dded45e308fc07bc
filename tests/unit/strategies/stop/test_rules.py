"""Stop rules on hand-made facts, with the arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagethrift.model.facts import StopAction, StopFacts
from pagethrift.strategies.stop.rules import (
    DEVICE_STATE_BYTES,
    FIXED_DOWNTIME_S,
    STOP_DELAY_S,
    DowntimePredicted,
    PendingFits,
    RetransferShare,
    bytes_per_dirty_page,
    pending_pages,
    predicted_downtime_s,
)

FACTS = StopFacts(
    now_s=20.0, round=3, round_began_s=18.0, total_pages=262_144, remaining_pages=1000,
    dirty_pages_per_s=500.0, first_round_bytes=1_000_000_000, retransferred_bytes=20_000_000,
    round_sent_bytes=(1_000_000_000, 20_000_000),
    round_dirty_pages=(262_144, 10_000), retransferred_pages=10_000, held_bytes=0, unsent_bytes=0,
    link_bps=12_500_000.0, downtime_limit_s=0.3,
)  # fmt: skip
GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


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


def test_downtime_predicted() -> None:
    predicted = predicted_downtime_s(FACTS)
    assert predicted is not None
    at_limit = replace(FACTS, downtime_limit_s=predicted / 0.85)
    for scale, action in ((1.001, GO), (0.999, ON)):
        decision = DowntimePredicted(0.85).decide(
            replace(at_limit, downtime_limit_s=predicted / 0.85 * scale)
        )
        assert decision.action is action
        assert decision.predicted_downtime_s == predicted
    assert DowntimePredicted().decide(replace(at_limit, round=0, downtime_limit_s=1e6)).action is ON
    assert DowntimePredicted().decide(replace(at_limit, link_bps=0.0, downtime_limit_s=1e6)).action is ON
    reason = DowntimePredicted().decide(replace(FACTS, downtime_limit_s=1.0)).reason
    assert reason == "predicted downtime 368 ms fits 1000 ms"


def test_pending_fits_is_qemus_threshold() -> None:
    fits = 12_500_000 * 0.3 // 4096
    quiet = replace(FACTS, dirty_pages_per_s=0.0)
    assert PendingFits().decide(replace(quiet, remaining_pages=int(fits))).action is GO
    assert PendingFits().decide(replace(quiet, remaining_pages=int(fits) + 1)).action is ON
    assert PendingFits().decide(replace(quiet, remaining_pages=0, round=0)).action is ON
    assert PendingFits().decide(replace(quiet, remaining_pages=0, link_bps=0.0)).action is ON
    held = replace(quiet, remaining_pages=0, held_bytes=3_750_000)
    assert PendingFits().decide(held).action is ON, "what a relay holds is pending"
    assert PendingFits().decide(replace(held, held_bytes=3_749_999)).action is GO
    busy = replace(FACTS, remaining_pages=0, dirty_pages_per_s=fits)
    assert PendingFits().decide(busy).action is ON, "dirtied for two seconds since the last look"


def test_retransfer_share() -> None:
    far = replace(FACTS, remaining_pages=200_000)
    assert RetransferShare(0.75).decide(replace(far, retransferred_bytes=750_000_000)).action is GO
    assert RetransferShare(0.75).decide(replace(far, retransferred_bytes=749_999_999)).action is ON
    assert RetransferShare(0.75).decide(replace(far, retransferred_bytes=10**12, round=0)).action is ON
    assert RetransferShare(0.5).decide(replace(far, retransferred_bytes=500_000_000)).reason == (
        "retransferred 50% of the first round (threshold 50%)"
    )
    assert RetransferShare().decide(replace(FACTS, remaining_pages=0, dirty_pages_per_s=0.0)).action is GO
    nothing = replace(far, first_round_bytes=0, retransferred_bytes=0)
    assert RetransferShare().decide(nothing).action is ON
