"""Figures: of which runs, in what words, with which numbers beside them."""

from __future__ import annotations

import re

import pytest

from pagethrift.model.result import Outcome, PageCounters, RoundRecord
from pagethrift.model.run_result import RamEquality
from pagethrift.report.figures import outcome, round_figures, scatter_figure, time_line_figures
from pagethrift.report.series import TABLE_BINS
from tests.unit.report.samples import client, memcaslap, migration, run

FAILED = migration("plain", 3.0, outcome=Outcome.FAILED, converged=False)
FORCED = migration("plain", 30.0, converged=False, forced_at_s=20.0)


@pytest.mark.parametrize(
    ("made", "words"), [(migration(), "converged"), (FORCED, "forced"), (FAILED, "failed")]
)
def test_how_a_run_ended_in_words(made: object, words: str) -> None:
    assert outcome(run(migration=made)) == words


def test_a_mode_is_shown_by_its_median_run() -> None:
    runs = [run("plain", seconds, i) for i, seconds in enumerate((30.0, 10.0, 20.0))]
    runs += [run("plain", 20.0, 9, ram=RamEquality(4096, 0)), run("xbzrle", migration=FAILED)]
    for figures in (time_line_figures("s1", runs), round_figures("s1", runs)):
        (figure,) = figures
        assert figure.title == "plain"
        assert "run 2 (plain.2.json)" in figure.description


def test_time_line_says_end_gap_and_how_well_time_is_known() -> None:
    (figure,) = time_line_figures("s1", [run()])
    assert figure.description == (
        "converged, took 10.0 s, longest gap 200 ms; intervals of 1.0 s, run 0 (plain.0.json);"
        " where it began is known to about two seconds"
    )
    exact = client(began_unix_s=993.0)
    (figure,) = time_line_figures("s1", [run(client=exact, migration=migration(blackout_s=None))])
    assert figure.description == "converged, took 10.0 s; intervals of 1.0 s, run 0 (plain.0.json)"


def test_the_same_numbers_beside_a_time_line_are_few() -> None:
    series = client()["series"] | {
        "operations": [10.0] * 101, "p50_ms": [1.23456] * 101, "p99_ms": [None] * 101, "max_ms": [3.0] * 101,
    }  # fmt: skip
    (figure,) = time_line_figures("s1", [run(client=client(series=series))])
    assert figure.headings == ("from, s", "answers/s", "p50, ms", "p99, ms", "max, ms")
    assert len(figure.table) == 100 // 5 <= TABLE_BINS
    assert figure.table[0] == ("-5.0", "10", "1.235", "-", "3")
    assert figure.table[1][0] == "0.0"


def test_memcaslap_has_a_figure_of_its_own() -> None:
    seen = run(client=client(began_unix_s=993.0, memcaslap=memcaslap()))
    (figure,) = time_line_figures("s1", [seen, run("xbzrle")], memcaslap=True)
    assert (figure.key, figure.title) == ("s1-memcaslap-1-plain", "plain, memcaslap")
    assert figure.headings[2] == "mean, ms"
    assert figure.table[0][1:] == ("4000", "4.5", "-", "30.5")
    assert time_line_figures("s1", [run("xbzrle")], memcaslap=True) == []


def test_keys_are_safe_and_unique_whatever_the_mode_is_called() -> None:
    modes = ["xbzrle:512MiB", "XBZRLE 512 MiB!", "../../etc", "x" * 80, "…"]
    figures = round_figures("s2", [run(mode) for mode in modes])
    keys = [figure.key for figure in figures]
    assert keys == [
        "s2-rounds-1-xbzrle-512mib", "s2-rounds-2-xbzrle-512-mib", "s2-rounds-3-etc",
        f"s2-rounds-4-{'x' * 40}", "s2-rounds-5",
    ]  # fmt: skip
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)


def test_rounds_in_words_and_numbers() -> None:
    kinds = PageCounters(full=1, delta=2, zero=3, skipped=4, compressed=5)
    rounds = (
        RoundRecord(0, 0.0, 10, 9000, kinds, 5), RoundRecord(1, 1.256, 10, 2000, kinds, 6),
        RoundRecord(2, 2.0, 10, 1000, kinds, 0),
    )  # fmt: skip
    (figure,) = round_figures(
        "s1", [run(migration=migration(rounds=rounds)), run("xbzrle", migration=FAILED)]
    )
    assert figure.description == "3 rounds; first pass 9 kB, later rounds 3 kB; run 0 (plain.0.json)"
    assert figure.headings == (
        "round", "from, s", "full", "delta", "zero", "skipped", "compressed", "held", "bytes sent",
    )  # fmt: skip
    assert figure.table[1] == ("1", "1.26", "1", "2", "3", "4", "5", "6", "2000")
    assert round_figures("s1", [run(migration=migration(rounds=()))]) == []


def test_all_runs_in_one_figure_the_failed_ones_in_its_table_only() -> None:
    runs = [
        run("thesis", 12.0), run(), run(repetition=1, migration=FORCED), run(repetition=2, migration=FAILED),
        run(repetition=3, ram=RamEquality(4096, 0)),
    ]  # fmt: skip
    figure = scatter_figure("s1", runs)
    assert figure is not None
    assert figure.key == "s1-scatter-1-all-runs"
    assert "of 3 runs" in figure.description
    assert "the 1 that had to be forced. 1 failed runs are in the table only." in figure.description
    assert [(row[0], row[4]) for row in figure.table] == [
        ("plain", "converged"), ("plain", "forced"), ("plain", "failed"), ("thesis", "converged"),
    ]  # fmt: skip
    assert figure.table[3] == ("thesis", "0", "12.0 s", "12 MB", "converged", "folder/thesis.0.json")


def test_without_a_completed_run_there_is_nothing_to_scatter() -> None:
    assert scatter_figure("s1", [run(migration=FAILED)]) is None
    figure = scatter_figure("s1", [run()])
    assert figure is not None
    assert "failed" not in figure.description
