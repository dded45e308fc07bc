"""Rows, Markdown and the comparison with QEMU's own modes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.model.result import Outcome
from pagethrift.model.run_result import RamEquality
from pagethrift.report.against import Verdict, comparisons
from pagethrift.report.load import load
from pagethrift.report.overview import overviews
from pagethrift.report.summary import by_scenario, rows
from pagethrift.report.tables import HEADINGS, cells, fitting, markdown, overview_markdown
from tests.unit.report.samples import migration, result, run, write


def test_forced_runs_count_and_are_named() -> None:
    forced = migration("plain", 30.0, converged=False, forced_at_s=20.0)
    (row,) = rows([run("plain", 10.0), run("plain", repetition=1, migration=forced)])
    assert (row.runs, row.converged) == (2, 1)
    assert row.convergence == "1 of 2 (forced at 20.0 s)"
    found = row.estimates["total_time_s"]
    assert found is not None
    assert (found.median, found.low, found.high) == (20.0, 10.0, 30.0)


def test_failed_runs_are_named_and_in_no_median() -> None:
    failed = migration("plain", 1.0, outcome=Outcome.FAILED, converged=False)
    (row,) = rows([run("plain", 10.0), run("plain", repetition=1, migration=failed)])
    assert row.convergence == "yes, 1 failed"
    found = row.estimates["total_time_s"]
    assert found is not None
    assert found.median == 10.0


def test_runs_that_compared_ram_are_not_timed() -> None:
    checked = run("pagethrift", 99.0, ram=RamEquality(4096, 0))
    (row,) = rows([run("pagethrift", 10.0), checked])
    assert row.runs == 1
    assert row.ram == "0 pages differ of 4.1 kB"
    assert "RAM compared (pagethrift): 0 pages differ" in markdown([row])


def test_markdown_has_intervals_and_escapes() -> None:
    text = markdown(rows([run("<b>|x", 10.0), run("<b>|x", 20.0, 1)]))
    assert "15.0 s (10.0 s to 20.0 s)" in text
    assert "&lt;b>\\|x" in text


def test_ratio_is_taken_between_runs_of_one_repetition() -> None:
    runs = [run("pagethrift", t, i) for i, t in enumerate((5.0, 12.0, 11.0))]
    runs += [run("plain", t, i) for i, t in enumerate((10.0, 20.0, 20.0))]
    runs += [run("xbzrle", t, i) for i, t in enumerate((100.0, 200.0, 200.0))]
    by_name = {one.measure.name: one for one in comparisons(runs)["pagethrift"]}
    time = by_name["TT"]
    assert time.best == "plain"
    assert time.pairs == 3
    assert time.ratio is not None
    assert (time.ratio.low, time.ratio.high) == (0.5, 0.6)
    assert time.verdict is Verdict.WINS
    assert by_name["DT"].verdict is Verdict.UNCLEAR


@pytest.mark.parametrize(
    ("repetitions", "verdict", "ratio"),
    [
        (3, Verdict.LOSES, "2.00 (2.00 to 2.00), 3 pairs"),
        (2, Verdict.TOO_FEW, "2.00 (2.00 to 2.00), 2 pairs"),
        (1, Verdict.TOO_FEW, "2.00, one pair"),
    ],
)
def test_a_loss_is_said_once_there_are_enough_runs(repetitions: int, verdict: Verdict, ratio: str) -> None:
    runs = [
        run(mode, t, i) for mode, t in (("pagethrift", 20.0), ("plain", 10.0)) for i in range(repetitions)
    ]
    (time,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "TT"]
    assert time.verdict is verdict
    assert time.shown_ratio == ratio
    assert time.as_json()["verdict"] == verdict.value


def test_all_scenarios_at_a_glance() -> None:
    times = {"pagethrift": 5.0, "plain": 20.0, "xbzrle": 10.0}
    runs = [run(mode, t, i, scenario=s) for s in ("a", "b") for mode, t in times.items() for i in range(3)]
    best, each = overviews({**by_scenario(runs), "alone": [run("pagethrift")]})
    assert [row[0] for row in best.rows] == ["a", "b"]
    assert best.rows[0][1] == "0.50 (0.50 to 0.50) of xbzrle: wins"
    assert each.headings == ("scenario", "plain", "xbzrle")
    assert each.rows[1] == ("b", "0.25 (0.25 to 0.25)", "0.50 (0.50 to 0.50)")
    assert "| a | 0.50 (0.50 to 0.50) of xbzrle: wins |" in overview_markdown(best)
    assert overviews({"alone": [run("pagethrift")]}) == []


def test_a_narrow_terminal_goes_without_what_is_needed_least() -> None:
    table = [HEADINGS, *(cells(row, intervals=False) for row in rows([run("plain"), run("pagethrift")]))]
    assert fitting(table, 500) == [list(line) for line in table]
    for width in (80, 60):
        fitted = fitting(table, width)
        assert sum(max(map(len, column)) + 2 for column in zip(*fitted, strict=True)) <= width
        assert {"mode", "converged", "TT", "DT", "lost"} <= set(fitted[0])
    assert "MEM" not in fitting(table, 80)[0]


def test_without_pairs_medians_are_compared() -> None:
    (found,) = comparisons([run("pagethrift", 5.0, 0), run("plain", 10.0, 1)]).values()
    assert found[0].pairs == 0
    assert found[0].ratio is not None
    assert found[0].ratio.median == 0.5


def test_runs_made_hours_apart_are_no_pair() -> None:
    own = [run("pagethrift", 5.0, i) for i in range(3)]
    later = [run("plain", 10.0, i, migration=migration("plain", 10.0, began_unix_s=9000.0)) for i in range(3)]
    (time,) = [one for one in comparisons(own + later)["pagethrift"] if one.measure.name == "TT"]
    assert (time.pairs, time.verdict) == (0, Verdict.TOO_FEW)


def test_folders_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    for day, own_s in (("monday", 8.0), ("tuesday", 4.0)):
        qemu_s = own_s / 0.8
        write(
            tmp_path / day / "runs",
            *(result("pagethrift", own_s, i) for i in range(2)),
            *(result("plain", qemu_s, i) for i in range(2)),
        )
    runs = load([tmp_path / "monday" / "runs", tmp_path / "tuesday" / "runs"]).runs
    (time,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "TT"]
    assert time.ratio is not None
    assert (time.ratio.low, time.ratio.high) == pytest.approx((0.8, 0.8))
    assert time.pairs == 4


def test_a_pair_in_which_qemu_sent_nothing_again_is_not_left_out() -> None:
    sent = [0, 0, 10_000_000, 10_000_000, 10_000_000]
    runs = [
        run(mode, 10.0, i, migration=migration(mode, retransferred_bytes=each))
        for mode, values in (("plain", sent), ("pagethrift", [5_000_000] * 5))
        for i, each in enumerate(values)
    ]
    (again,) = [one for one in comparisons(runs)["pagethrift"] if one.measure.name == "RD"]
    assert (again.pairs, again.verdict) == (0, Verdict.TOO_FEW)


def test_links_are_told_apart() -> None:
    runs = [
        run("plain", 10.0, i, migration=migration(bandwidth_bps=rate)) for i, rate in enumerate((25e6, 50e6))
    ]
    assert list(by_scenario(runs)) == ["small, 200 Mbit/s", "small, 400 Mbit/s"]
    assert list(by_scenario(runs[:1])) == ["small"]


def test_nothing_to_compare_with() -> None:
    assert comparisons([run("pagethrift"), run("thesis")]) == {}
