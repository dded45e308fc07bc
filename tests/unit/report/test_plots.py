"""What is drawn, read back from the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pagethrift.model.result import Outcome, PageCounters, RoundRecord
from pagethrift.report.drawing import Draw
from pagethrift.report.plots import COLOURS, MARKERS, rounds, scatter, time_lines
from pagethrift.report.runs import Run
from pagethrift.report.series import KINDS, TimeLine, bars, time_line
from tests.unit.report.samples import client, memcaslap, migration, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def drawn(draw: Draw) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure()
    draw(figure)
    return figure


def points(line: Line2D) -> list[list[float]]:
    """Return the (x, y) of a line."""
    found: list[list[float]] = np.asarray(line.get_xydata()).tolist()
    return found


def line_of(of: Run, memcaslap: bool = False) -> TimeLine:
    found = time_line(of, memcaslap=memcaslap)
    assert found is not None
    return found


def with_series(**changes: list[float | None]) -> Run:
    return run(client=client(began_unix_s=993.0, series=client()["series"] | changes))


def test_time_lines_of_a_scenario_have_the_same_axes() -> None:
    slow, fast = with_series(p50_ms=[0.3] * 20), with_series(operations=[50.0] * 20, max_ms=[30.0] * 20)
    for draw in time_lines([line_of(slow), line_of(fast)], (-7.0, 13.0)):
        rate, latency = drawn(draw).axes
        assert rate.get_xlim() == latency.get_xlim() == (-7.0, 13.0)
        assert rate.get_ylim() == pytest.approx((0.0, 54.0))
        assert latency.get_ylim() == pytest.approx((0.2, 45.0))


def test_values_stand_in_the_middle_of_their_interval_with_gaps() -> None:
    (draw,) = time_lines([line_of(with_series(p99_ms=[None, 0.0, *[2.0] * 18]))], (-7.0, 13.0))
    rate, latency = drawn(draw).axes
    throughput, asked = (points(line) for line in rate.lines)
    assert throughput[0] == [-6.5, 10.0]
    assert [y for _, y in asked] == [10.0, 10.0]
    named = {str(line.get_label()): [y for _, y in points(line)] for line in latency.lines}
    assert list(named) == ["max", "p99", "p50"]
    assert (named["max"][3], named["p50"][3]) == (3.0, 1.0)
    assert [str(value) for value in named["p99"][:3]] == ["nan", "nan", "2.0"]


def test_a_latency_nobody_knows_has_no_line_and_memcaslap_no_asked_rate() -> None:
    seen = run(client=client(began_unix_s=993.0, memcaslap=memcaslap()))
    (draw,) = time_lines([line_of(seen, memcaslap=True)], (-5.0, 10.0))
    rate, latency = drawn(draw).axes
    assert len(rate.lines) == 1
    assert [line.get_label() for line in latency.lines] == ["max", "mean"]


def test_the_rate_asked_for_is_drawn_where_it_fits() -> None:
    for asked, lines in ((10.0, 2), (1000.0, 1), ("fast", 1), (None, 1)):
        seen = run(client=client(spec={"rate_per_s": asked}))
        (draw,) = time_lines([line_of(seen)], (-7.0, 13.0))
        assert len(drawn(draw).axes[0].lines) == lines


def stacked(figure: Figure) -> list[list[tuple[float, float]]]:
    """Return (bottom, top) of each bar, kind by kind, first pass and later rounds."""
    found = []
    for axes in figure.axes[:2]:
        for container in axes.containers:
            found.append([(bar.get_y(), bar.get_y() + bar.get_height()) for bar in container])
    return found


def test_kinds_of_pages_are_stacked_and_the_first_pass_has_its_own_scale() -> None:
    kinds = PageCounters(full=1000, delta=200, zero=30, skipped=4, compressed=5)
    small = PageCounters(full=1, delta=1, zero=1, skipped=1, compressed=1)
    seen = run(
        migration=migration(
            rounds=(RoundRecord(0, 0.0, 0, 9_000_000, kinds, 6), RoundRecord(1, 1.0, 0, 2_000_000, small, 1))
        )
    )
    figure = drawn(rounds([bars(seen)])[0])
    assert list(KINDS) == ["full", "delta", "zero", "skipped", "compressed", "held"]
    assert stacked(figure)[:6] == [
        [(0, 1000)], [(1000, 1200)], [(1200, 1230)], [(1230, 1234)], [(1234, 1239)], [(1239, 1245)],
    ]  # fmt: skip
    assert stacked(figure)[6:] == [[(i, i + 1)] for i in range(6)]
    tops = [axes.get_ylim()[1] for axes in figure.axes]
    assert tops == pytest.approx([1245 * 1.05, 6 * 1.05, 9 * 1.05, 2 * 1.05])


def test_rounds_of_a_scenario_have_the_same_axes() -> None:
    one = run(
        migration=migration(
            rounds=tuple(RoundRecord(i, i, 0, 0, PageCounters(full=9 - i), 0) for i in range(3))
        )
    )
    other = run(migration=migration(rounds=(RoundRecord(0, 0.0, 0, 5_000_000, PageCounters(full=2), 0),)))
    figures = [drawn(draw) for draw in rounds([bars(one), bars(other)])]
    for at in range(4):
        first, second = (figure.axes[at] for figure in figures)
        assert first.get_ylim() == second.get_ylim()
        assert first.get_xlim() == second.get_xlim()
    assert figures[0].axes[3].get_xlim() == pytest.approx((-0.6, 1.6))


def test_many_rounds_are_named_a_dozen_times_at_most() -> None:
    records = tuple(RoundRecord(i, i, 0, 0, PageCounters(full=1), 0) for i in range(25))
    figure = drawn(rounds([bars(run(migration=migration(rounds=records)))])[0])
    names = [text.get_text() for text in figure.axes[3].get_xticklabels()]
    assert names == ["1", "3", "5", "7", "9", "11", "13", "15", "17", "19", "21", "23+"]


def test_large_counts_are_thousands() -> None:
    record = RoundRecord(0, 0.0, 0, 0, PageCounters(full=2000), 0)
    axes = drawn(rounds([bars(run(migration=migration(rounds=(record,))))])[0]).axes[0]
    named = axes.yaxis.get_major_formatter()
    assert [named(value, 0) for value in (0, 999, 1000, 1500)] == ["0", "999", "1k", "1.5k"]


def test_a_marker_for_each_mode_and_a_ring_around_the_forced() -> None:
    forced = migration("plain", 30.0, converged=False, forced_at_s=20.0)
    failed = migration("plain", 3.0, outcome=Outcome.FAILED, converged=False)
    runs = [
        run("thesis", 5.0),
        run(),
        run(repetition=1, migration=forced),
        run(repetition=2, migration=failed),
    ]
    (axes,) = drawn(scatter(runs)).axes
    plain, plain_rings, thesis, thesis_rings = axes.lines
    assert points(plain) == [[10.0, 10.0], [30.0, 30.0]]
    assert points(plain_rings) == [[30.0, 30.0]]
    assert points(thesis) == [[5.0, 5.0]]
    assert points(thesis_rings) == []
    looks = [(line.get_marker(), line.get_color()) for line in (plain, thesis)]
    assert looks == list(zip(MARKERS[:2], COLOURS[:2], strict=True))
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)


def test_long_and_hidden_names_are_in_the_legend() -> None:
    names = ["_hidden", "x" * 28, "x" * 29]
    (axes,) = drawn(scatter([run(name) for name in names])).axes
    _, labels = axes.get_legend_handles_labels()
    assert labels == [" _hidden", "x" * 28, "x" * 27 + "…"]
