"""The thesis, mended and as printed."""

from __future__ import annotations

from pagethrift.model.facts import StopAction
from pagethrift.model.methods import Allow
from pagethrift.strategies.base import Signing
from pagethrift.strategies.stop.rules import RetransferShare
from pagethrift.strategies.thesis import thesis
from pagethrift.strategies.thesis_literal import thesis_literal
from tests.unit.strategies.facts import page_facts, stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


def test_sha256_of_the_page_last_forwarded() -> None:
    row = thesis()
    assert row.signing is Signing.SHA256
    assert row.encode.allow(page_facts(1, 3)) == Allow.SKIP
    assert not row.simulated.skips_seen


def test_as_printed_only_the_comparison_differs() -> None:
    row, mended = thesis_literal(0.5), thesis(0.5)
    assert row.simulated.skips_seen
    assert (row.stop, row.encode, row.signing) == (mended.stop, mended.encode, mended.signing)
    assert "stale pages" in row.refuses_live
    assert "--strategy thesis" in row.refuses_live


def test_cumulative_and_per_round() -> None:
    facts = stop_facts([90_000, 90_000, 90_000], [1000, 400, 400, 100])
    assert RetransferShare(0.75).decide(facts).action is GO
    assert RetransferShare(0.75, per_round=1).decide(facts).action is ON
    assert RetransferShare(0.4, per_round=1).decide(facts).action is GO
    assert RetransferShare(0.4, per_round=1).decide(facts).reason == (
        "retransferred 40% in one round (threshold 40%)"
    )
