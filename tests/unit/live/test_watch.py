"""What the driver makes of events, polls and relay lines."""

from __future__ import annotations

from typing import Any

import pytest

from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.live.watch import Watch
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import PageCounters
from pagethrift.strategies.stop.prediction import predicted_downtime_s

TOTAL = 1000 * 4096


def watching(relayed: bool = True, bandwidth_bps: int | None = None) -> Watch:
    return Watch(100.0, 0.3, bandwidth_bps, relayed)


def info(passes: int, remaining_pages: int, transferred_bytes: int = 0, **more: Any) -> MigrateInfo:
    return MigrateInfo(
        status="active",
        total_bytes=TOTAL,
        dirty_sync_count=passes,
        remaining_bytes=remaining_pages * 4096,
        transferred_bytes=transferred_bytes,
        **more,
    )


def event(name: str, now_s: float, **data: object) -> QmpEvent:
    return QmpEvent(name, data, now_s)


def test_pass_one_is_round_zero_and_each_later_pass_a_round() -> None:
    watch = watching()
    watch.on_event(event("MIGRATION_PASS", 100.0, **{"pass": 1}))
    assert watch.round == 0
    watch.on_event(event("MIGRATION_PASS", 103.0, **{"pass": 2}))
    watch.on_event(event("MIGRATION_PASS", 104.0, **{"pass": 3}))
    assert watch.round == 2
    assert [record.began_s for record in watch.rounds()] == [0.0, 3.0, 4.0]


def test_facts_of_a_relayed_migration() -> None:
    watch = watching()
    assert watch.facts(100.1) is None
    watch.on_info(info(1, 1000), 100.1)
    watch.on_relay(
        RelayStatus(RelayState.RAM, first_round_bytes=5000, pages=PageCounters(full=2), out_bytes=5100)
    )
    watch.on_event(event("MIGRATION_PASS", 102.0, **{"pass": 2}))
    assert watch.facts(102.0) is None, "the last poll is of the round before, nearly through"
    watch.on_info(info(2, 50), 102.1)
    watch.on_relay(
        RelayStatus(
            RelayState.RAM,
            first_round_bytes=5000,
            retransferred_bytes=700,
            retransferred_pages=8,
            pages=PageCounters(full=2, delta=3, skipped=4),
            held_pages=1,
            held_bytes=80,
            unsent_bytes=20,
            link_bps=1000.0,
        )
    )
    facts = watch.facts(102.5)
    assert facts is not None
    assert (facts.now_s, facts.round, facts.round_began_s, facts.total_pages) == (2.5, 1, 2.0, 1000)
    assert (facts.remaining_pages, facts.round_dirty_pages, facts.round_sent_bytes) == (
        50,
        (1000, 50),
        (5000, 700),
    )
    assert facts.dirty_pages_per_s == pytest.approx(25.0)
    assert (facts.held_bytes, facts.unsent_bytes, facts.link_bps, facts.retransferred_pages) == (
        80,
        20,
        1000.0,
        8,
    )
    assert watch.predicted_downtime_s(102.5) == predicted_downtime_s(facts)
    first, second = watch.rounds()
    assert (first.sent_bytes, first.pages.full, first.held_pages) == (5000, 2, 0)
    assert (second.sent_bytes, second.pages.delta, second.pages.skipped, second.held_pages) == (700, 3, 4, 1)


def test_rounds_too_short_to_be_polled_take_the_next_answer() -> None:
    watch = watching()
    watch.on_info(info(1, 1000), 100.1)
    for number in (2, 3, 4):
        watch.on_event(event("MIGRATION_PASS", 101.0 + number / 100, **{"pass": number}))
    watch.on_info(info(4, 9), 101.05)
    facts = watch.facts(101.1)
    assert facts is not None
    assert facts.round_dirty_pages == (1000, 9, 9, 9)
    assert facts.dirty_pages_per_s == pytest.approx(900)


def test_bandwidth_hint_stands_in_until_the_link_is_measured() -> None:
    hinted, unknown = watching(bandwidth_bps=4096), watching()
    for watch in (hinted, unknown):
        watch.on_info(info(2, 1), 100.1)
    facts = hinted.facts(100.1)
    assert facts is not None
    assert facts.link_bps == 4096
    assert hinted.predicted_downtime_s(100.1) is not None
    assert unknown.predicted_downtime_s(100.1) is None
    hinted.on_relay(RelayStatus(link_bps=8192.0))
    measured = hinted.facts(100.1)
    assert measured is not None
    assert measured.link_bps == 8192.0


def test_nothing_is_predicted_before_it_is_known() -> None:
    watch = watching(bandwidth_bps=10_000_000)
    assert watch.predicted_downtime_s(100.0) is None
    assert watch.longest_downtime_s() is None
    watch.on_info(info(1, 900), 100.1)
    assert watch.predicted_downtime_s(100.2) is None, "what remains of the first pass may all be zero"
    assert watch.progress(100.2).predicted_downtime_s is None
    assert watch.longest_downtime_s() == pytest.approx(0.03 + (1000 * 4104 + (128 << 10)) / 1e7)
    watch.on_event(event("MIGRATION_PASS", 101.0, **{"pass": 2}))
    assert watch.predicted_downtime_s(101.0) is None, "QEMU has not said what is dirty"
    watch.on_info(info(2, 50), 101.1)
    assert watch.predicted_downtime_s(101.1) is not None


def test_plain_migration_has_the_same_prediction_from_qemus_counters() -> None:
    watch = watching(relayed=False)
    watch.on_info(info(1, 500, 4000), 101.0)
    watch.on_info(info(2, 100, 9000, normal_pages=5, zero_pages=20, link_bps=1e6), 102.0)
    watch.on_info(
        info(2, 40, 9000 + 80 * 1000, normal_pages=35, zero_pages=40, delta_pages=30, link_bps=1e6), 103.0
    )
    facts = watch.facts(103.0)
    assert facts is not None
    assert (facts.retransferred_bytes, facts.retransferred_pages) == (80_000, 80)
    pages = 40 + 100 / 2 * 1.1  # 100 pages were dirtied in the first pass, of 2 s
    owed = pages * 1000 + (128 << 10)
    assert watch.predicted_downtime_s(103.0) == pytest.approx(0.03 + owed / 1e6)
    watch.on_event(event("STOP", 103.1))
    assert watch.progress(103.2).predicted_downtime_s is None, "QEMU decided; nothing was predicted"


def test_plain_migration_counts_what_qemu_counts() -> None:
    watch = watching(relayed=False)
    watch.on_info(info(1, 500, 4000, normal_pages=1), 101.0)
    watch.on_info(info(2, 10, 9000, normal_pages=2, zero_pages=7), 102.0)
    watch.on_info(info(2, 0, 9500, normal_pages=3, delta_pages=1), 103.0)
    assert watch.sent_by_pass() == (9000, 500)
    assert watch.transferred_bytes() == 9500
    counters = watch.counters()
    assert (counters.full, counters.delta) == (3, 1)


def test_an_end_is_final_and_keeps_the_counters() -> None:
    watch = watching()
    watch.on_info(info(2, 10), 101.0)
    watch.on_event(event("MIGRATION", 102.0, status="failed"))
    watch.on_info(info(2, 10), 102.1)
    watch.on_info(MigrateInfo(status="failed", error="no route"), 102.2)
    assert (watch.status, watch.ended_s, watch.error) == ("failed", 102.0, "no route")
    assert watch.info.total_bytes == TOTAL


def test_failing_is_not_an_end_yet() -> None:
    """QEMU 11.1 says so while it cleans up; its guest may not run yet, and why it failed is not known."""
    watch = watching()
    watch.on_event(event("MIGRATION", 102.0, status="failing"))
    assert not watch.ended
    watch.on_info(info(2, 10), 102.1)
    watch.on_event(event("MIGRATION", 102.2, status="failed"))
    watch.on_info(MigrateInfo(status="failed", error="no route"), 102.3)
    assert (watch.status, watch.ended_s, watch.error) == ("failed", 102.2, "no route")


def test_stop_and_resume_of_the_source() -> None:
    watch = watching()
    watch.on_event(event("STOP", 101.0))
    assert watch.stopped_s == 101.0
    watch.on_event(event("RESUME", 102.0))
    assert watch.stopped_s is None


def test_progress_shows_the_prediction_and_the_rounds_pace() -> None:
    watch = watching(bandwidth_bps=1_000_000)
    watch.on_info(info(1, 1000), 100.0)
    watch.on_info(info(2, 1000), 100.0)
    watch.on_info(info(2, 500), 102.0)
    shown = watch.progress(102.0)
    assert (shown.elapsed_s, shown.round, shown.phase) == (2.0, 1, "active")
    facts = watch.facts(102.0)
    assert facts is not None
    assert shown.predicted_downtime_s == predicted_downtime_s(facts)
    assert shown.eta_s == pytest.approx(2.0)
    watch.decision = StopDecision(StopAction.CONTINUE, "", 7.5)
    assert watch.progress(102.0).predicted_downtime_s == shown.predicted_downtime_s
    watch.decision = StopDecision(StopAction.SWITCH_OVER, "fits", 0.2)
    watch.on_event(event("STOP", 102.1))
    assert watch.progress(103.0).predicted_downtime_s == 0.2, "the switchover that has come"
