"""Time lines, rounds and the representative run."""

from __future__ import annotations

import pytest

from pagethrift.report.series import MOST_ROUNDS, bars, representative, shared_span_s, time_line
from tests.unit.report.samples import client, memcaslap, migration, result, round_record, run


def test_time_zero_is_the_begin_of_the_migration_by_wall_clock() -> None:
    line = time_line(run(client=client(began_unix_s=993.0)))
    assert line is not None
    assert line.exact
    assert line.at_s[0] == -7.0
    assert line.ended_s == 10.0
    assert line.rounds_s == (0.0, 1.0)


def test_without_wall_clock_the_end_of_the_phase_counts_back() -> None:
    line = time_line(run(total_s=8.0))
    assert line is not None
    assert not line.exact
    assert line.at_s[0] == -7.0  # phase 55..65, the migration took its last 8 s


def test_memcaslap_is_on_the_same_clock_and_knows_means() -> None:
    one = run(client=client(began_unix_s=993.0, memcaslap=memcaslap()))
    line = time_line(one, memcaslap=True)
    assert line is not None
    assert line.at_s[0] == -5.0
    assert line.operations_per_s == (4000.0,) * 14
    assert (line.middle, line.p50_ms[0], line.p99_ms[0], line.max_ms[0]) == ("mean", 4.5, None, 30.5)
    ours = time_line(one)
    assert ours is not None
    assert (ours.middle, ours.operations_per_s[0]) == ("p50", 10.0)
    assert time_line(run(), memcaslap=True) is None


def test_last_partial_interval_is_left_out_and_bins_keep_peaks() -> None:
    series = {
        "began_s": 50.0, "interval_s": 1.0, "operations": [10, 30, 20, 20, 1],
        "p50_ms": [1.0, 3.0, None, None, 9.0], "p99_ms": [5.0, 7.0, None, 4.0, 9.0],
        "max_ms": [6.0, 8.0, None, 4.5, 9.0],
    }  # fmt: skip
    line = time_line(run(client=client(series=series)), bins=2)
    assert line is not None
    assert line.width_s == 2.0
    assert line.operations_per_s == (20.0, 20.0)
    assert line.p50_ms == (2.0, None)
    assert line.p99_ms == (7.0, 4.0)
    assert line.max_ms == (8.0, 4.5)


def test_shared_axis_fits_the_longest() -> None:
    short, long = time_line(run(total_s=5.0)), time_line(run(total_s=10.0))
    assert short is not None
    assert long is not None
    assert shared_span_s([short, long]) == (-10.0, 14.0)


def test_representative_is_the_median_completed_run() -> None:
    runs = [run(total_s=t, repetition=i) for i, t in enumerate((30.0, 10.0, 20.0))]
    chosen = representative(runs)
    assert chosen is not None
    assert chosen.migration.total_time_s == 20.0
    assert representative([]) is None


def test_many_rounds_end_in_one_bar_with_all_of_the_rest() -> None:
    records = tuple(round_record(i, 10, held=i) for i in range(MOST_ROUNDS + 5))
    found = bars(run(migration=migration(rounds=records)))
    assert len(found) == MOST_ROUNDS
    assert sum(bar.full for bar in found) == 10 * len(records)
    assert sum(bar.sent_bytes for bar in found) == 10 * 4096 * len(records)
    assert found[-1].label == f"{MOST_ROUNDS - 1}+"
    assert found[-1].held == MOST_ROUNDS + 4


def test_a_run_without_series_has_no_time_line() -> None:
    assert time_line(run(client={})) is None
    assert result().client["series"]


@pytest.mark.parametrize("count", [1, MOST_ROUNDS])
def test_few_rounds_stay_as_they_are(count: int) -> None:
    found = bars(run(migration=migration(rounds=tuple(round_record(i, i) for i in range(count)))))
    assert [bar.pages for bar in found] == list(range(count))
