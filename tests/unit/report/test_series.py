"""Time lines, rounds and the representative run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pagethrift.kernels.machine_code import PACKAGE
from pagethrift.model.result import PageCounters, RoundRecord
from pagethrift.report.plots import looks
from pagethrift.report.series import HELD, KINDS, MOST_ROUNDS, bars, representative, shared_span_s, time_line
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
    assert sum(bar.of("full") for bar in found) == 10 * len(records)
    assert sum(bar.sent_bytes for bar in found) == 10 * 4096 * len(records)
    assert found[-1].label == f"{MOST_ROUNDS - 1}+"
    assert found[-1].held == MOST_ROUNDS + 4


def test_a_bar_has_every_kind_of_pages() -> None:
    counted = PageCounters(*(1 << i for i, _ in enumerate(fields(PageCounters))))
    records = (RoundRecord(0, 0.0, 0, 0, counted, held_pages=5), RoundRecord(1, 1.0, 0, 0, counted, 1000))
    first, _ = bars(run(migration=migration(rounds=records)))
    assert (*(f.name for f in fields(PageCounters)), HELD) == KINDS
    assert [first.of(kind) for kind in KINDS] == [*(count for _, count in counted.named()), 5]
    assert first.pages == counted.total + 5
    assert tuple(looks()) == KINDS
    assert len(set(looks().values())) == len(KINDS)


WITH_A_NEW_COUNTER = """
from pathlib import Path
from pagethrift.cli.progress import summary
from pagethrift.model.result import MigrationResult, Mode, Outcome, PageCounters, RoundRecord
from pagethrift.report.plots import looks
from pagethrift.report.series import bars
pages = PageCounters(full=1, novel=7)
result = MigrationResult(
    Mode.RELAY, "s", Outcome.COMPLETED, False, 0.0, 1.0, 0.3, 1.0,
    pages=pages, rounds=(RoundRecord(0, 0.0, 8, 8, pages, 2),),
)
read = MigrationResult.from_json(result.to_json())
run = type("Run", (), {"migration": read})
bar = bars(run)[0]
print(bar.pages, bar.of("novel"), "novel" in looks(), "7 novel" in dict(summary(read))["pages"])
"""


@pytest.mark.slow
def test_a_new_page_counter_is_one_line(tmp_path: Path) -> None:
    """Result, plots and progress carry a counter along that none of them names."""
    package = tmp_path / "pagethrift"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / "model" / "result.py"
    line = "    skipped: int = 0\n"
    assert file.read_text().count(line) == 1
    file.write_text(file.read_text().replace(line, "    novel: int = 0\n" + line))
    command = [sys.executable, "-B", "-c", WITH_A_NEW_COUNTER]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["10", "7", "True", "True"], done.stderr


def test_a_run_without_series_has_no_time_line() -> None:
    assert time_line(run(client={})) is None
    assert result().client["series"]


@pytest.mark.parametrize("count", [1, MOST_ROUNDS])
def test_few_rounds_stay_as_they_are(count: int) -> None:
    found = bars(run(migration=migration(rounds=tuple(round_record(i, i) for i in range(count)))))
    assert [bar.pages for bar in found] == list(range(count))
