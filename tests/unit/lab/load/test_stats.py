"""From logs to results, on hand-made logs."""

from __future__ import annotations

import json

import pytest
from hdrh.histogram import HdrHistogram

from pagethrift.lab.load.spec import LoadSpec
from pagethrift.lab.load.stats import Kind, OperationLog, Outcome, Phase, summarise

MS = 1_000_000
Row = tuple[float, float, Kind, Outcome]
BEGAN_S = 100.0


def at(ms: float) -> int:
    return int((BEGAN_S * 1000 + ms) * MS)


def log_of(*rows: Row) -> OperationLog:
    log = OperationLog()
    for due_ms, done_ms, kind, outcome in rows:
        log.add(at(due_ms), at(done_ms), kind, outcome)
    return log


def gets_every_ms(first_ms: int, last_ms: int, latency_ms: float = 0.5) -> list[Row]:
    return [(ms, ms + latency_ms, Kind.GET, Outcome.OK) for ms in range(first_ms, last_ms)]


def test_blackout_is_the_longest_silence_over_all_connections() -> None:
    one = log_of(*gets_every_ms(0, 300), *gets_every_ms(1000, 2000))
    two = log_of(*gets_every_ms(0, 400), *gets_every_ms(900, 2000))
    result = summarise(LoadSpec(), [one, two], [Phase("before", BEGAN_S)], BEGAN_S + 2)
    assert result["blackout_s"] == pytest.approx(0.501)
    assert result["blackout_began_s"] == pytest.approx(BEGAN_S + 0.3995)


def test_silence_until_the_end_is_a_blackout_and_errors_do_not_end_one() -> None:
    rows = [*gets_every_ms(0, 100), (500, 501, Kind.GET, Outcome.LOST), (700, 701, Kind.GET, Outcome.WRONG)]
    result = summarise(LoadSpec(), [log_of(*rows)], [Phase("before", BEGAN_S)], BEGAN_S + 3)
    assert result["blackout_s"] == pytest.approx(2.9005)


def test_nothing_at_all_is_one_blackout() -> None:
    result = summarise(LoadSpec(), [OperationLog()], [Phase("before", BEGAN_S)], BEGAN_S + 3)
    assert result["blackout_s"] == pytest.approx(3)
    assert result["operations"] == 0
    json.dumps(result)


def test_operations_belong_to_the_phase_they_were_due_in() -> None:
    rows = [*gets_every_ms(0, 1000), (999.5, 1600, Kind.SET, Outcome.OK), *gets_every_ms(1500, 2500)]
    phases = [Phase("before", BEGAN_S), Phase("during", BEGAN_S + 1), Phase("after", BEGAN_S + 2)]
    result = summarise(LoadSpec(), [log_of(*rows)], phases, BEGAN_S + 3)
    before, during, after = result["phases"]
    assert [part["operations"] for part in (before, during, after)] == [1001, 500, 500]
    assert before["latency_ms"]["max"] == pytest.approx(600.5)
    assert before["sets"] == 1
    assert during["blackout_s"] == pytest.approx(0.501)
    assert during["latency_ms"]["max"] == pytest.approx(0.5)
    assert during["operations_per_s"] == pytest.approx(500)


def test_outcomes_are_counted_by_name() -> None:
    rows = [(float(index), index + 1.0, Kind.SAME_SET, outcome) for index, outcome in enumerate(Outcome)]
    result = summarise(LoadSpec(), [log_of(*rows)], [Phase("before", BEGAN_S)], BEGAN_S + 1)
    counts = {name: result[name] for name in ("missing", "wrong", "refused", "lost", "shed", "errors")}
    assert counts == {"missing": 1, "wrong": 1, "refused": 1, "lost": 1, "shed": 1, "errors": 2}
    assert result["same_value_sets"] == result["sets"] == 6
    assert result["gets"] == 0


def test_percentiles_come_from_a_histogram_that_can_be_merged() -> None:
    rows = [(ms, ms + (100 if ms % 100 == 0 else 1), Kind.GET, Outcome.OK) for ms in range(1000)]
    result = summarise(LoadSpec(), [log_of(*rows)], [Phase("before", BEGAN_S)], BEGAN_S + 1.2)
    assert result["latency_ms"]["p50"] == pytest.approx(1, rel=0.01)
    assert result["latency_ms"]["p999"] == pytest.approx(100, rel=0.01)
    merged = HdrHistogram(1, 3_600_000_000, 3)
    merged.decode_and_add(result["latency_us_hdr"].encode())
    assert merged.get_total_count() == 1000


def test_series_counts_answers_by_time() -> None:
    rows = [*gets_every_ms(0, 200), *gets_every_ms(400, 500, latency_ms=2.5)]
    spec = LoadSpec(series_interval_s=0.1)
    series = summarise(spec, [log_of(*rows)], [Phase("before", BEGAN_S)], BEGAN_S + 0.6)["series"]
    assert series["operations"] == [100, 100, 0, 0, 98, 2]
    assert series["p50_ms"][0] == pytest.approx(0.5)
    assert series["p50_ms"][2] is None
    assert series["max_ms"][4] == pytest.approx(2.5)
