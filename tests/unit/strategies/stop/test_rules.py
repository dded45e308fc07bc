"""Stop rules on hand-made facts, with the arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace

from pagethrift.model.facts import StopAction
from pagethrift.strategies.stop.prediction import predicted_downtime_s
from pagethrift.strategies.stop.rules import DowntimePredicted, PendingFits, RetransferShare
from tests.unit.strategies.stop.test_prediction import FACTS

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


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
