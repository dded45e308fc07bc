"""The drawings of a report: time lines, rounds, time against bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import cycle
from math import nan
from typing import TYPE_CHECKING

from pagethrift.report.drawing import INK, Draw
from pagethrift.report.runs import Run
from pagethrift.report.series import KINDS, Bar, TimeLine
from pagethrift.report.summary import by_mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIME_LINE_IN = (3.9, 3.5)
ROUNDS_IN = (3.9, 3.8)
SCATTER_IN = (3.9, 4.8)
"""in inches, narrow: on a phone 350 pixels wide, letters of 9 points become 11 pixels"""
COLOURS = ("#2f7fc1", "#c8553d", "#2a9d6f", "#a65fb5", "#8f7d22", "#6b7f8c")
"""contrast at least 3:1 against white and against the dark page; colour is never the only difference"""
MARKERS = "oxs^DvP*<>Xphd1234"
LOOKS = {
    "full": ("#2f7fc1", ""),
    "delta": ("#c8553d", "////"),
    "zero": ("#8a949c", "||||"),
    "skipped": ("#2a9d6f", "xxxx"),
    "compressed": ("#8f7d22", "++++"),
    "held": ("#a65fb5", "----"),
}
"""colour and hatching of a kind of page records"""
OTHER_LOOKS = (("#6b7f8c", "++"), ("#c8553d", "\\\\\\\\"), ("#2f7fc1", "xx"), ("#8f7d22", "--"))
"""of those that are not named above, in turn: hatching of lines, since each dot or star takes kilobytes"""
LEGEND_COLUMNS = 5
"""names in a row of the legend"""


def time_lines(lines: Sequence[TimeLine], span_s: tuple[float, float]) -> list[Draw]:
    """Return a drawing for each time line, all with the same axes."""
    top_rate = max(max(line.operations_per_s) for line in lines)
    known_ms = [v for line in lines for v in (*line.p50_ms, *line.max_ms) if v]
    range_ms = (min(known_ms, default=1.0) / 1.5, max(known_ms, default=1.0) * 1.5)
    top = (top_rate or 1.0) * 1.08
    return [partial(_time_line, line=line, span_s=span_s, top=top, range_ms=range_ms) for line in lines]


def _time_line(
    figure: Figure, line: TimeLine, span_s: tuple[float, float], top: float, range_ms: tuple[float, float]
) -> None:
    rate, latency = figure.subplots(2, 1, sharex=True)
    for axes in (rate, latency):
        axes.axvspan(0, line.ended_s, color="#8a949c", alpha=0.22, linewidth=0)
        axes.set_xlim(*span_s)
    at = [start + line.width_s / 2 for start in line.at_s]
    rate.plot(at, line.operations_per_s, color=COLOURS[0], linewidth=1.2)
    asked = line.run.client.spec.get("rate_per_s") if line.run.client else None
    if (
        isinstance(asked, int | float) and 0 < asked < top and line.middle == "p50"
    ):  # memcaslap's has no limit
        rate.axhline(asked, color=INK, linewidth=0.8, linestyle=":")
    rate.set_ylim(0, top)
    rate.set_ylabel("answers/s")
    rate.vlines(
        [s for s in line.rounds_s if span_s[0] <= s <= span_s[1]], 0, 0.06, color=INK, linewidth=0.9,
        transform=rate.get_xaxis_transform(),
    )  # fmt: skip
    for name, values, colour, style in (
        ("max", line.max_ms, COLOURS[1], ":"),
        ("p99", line.p99_ms, COLOURS[3], "--"),
        (line.middle, line.p50_ms, COLOURS[0], "-"),
    ):
        if not any(values):
            continue
        latency.plot(at, [nan if v is None or v <= 0 else v for v in values], style, color=colour,
                     linewidth=1.2, label=name)  # fmt: skip
    latency.set_yscale("log")
    latency.set_ylim(*range_ms)
    latency.yaxis.set_major_formatter("{x:g}")
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("seconds since the migration began")
    latency.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 0.98), borderaxespad=0.1)


def rounds(runs: Sequence[list[Bar]]) -> list[Draw]:
    """Return a drawing of the rounds of each run, all with the same axes."""
    first = max((bar.pages for bars in runs for bar in bars[:1]), default=0)
    later = max((bar.pages for bars in runs for bar in bars[1:]), default=0)
    first_mb = max((bar.sent_bytes for bars in runs for bar in bars[:1]), default=0) / 1e6
    later_mb = max((bar.sent_bytes for bars in runs for bar in bars[1:]), default=0) / 1e6
    count = max((len(bars) for bars in runs), default=1)
    tops = ((first, later), (first_mb, later_mb))
    return [partial(_rounds, bars=bars, tops=tops, count=count) for bars in runs]


def _rounds(
    figure: Figure, bars: list[Bar], tops: tuple[tuple[float, float], tuple[float, float]], count: int
) -> None:
    grid = figure.subplots(2, 2, width_ratios=(1, 4), sharex="col")
    for column, part in ((0, bars[:1]), (1, bars[1:])):
        pages, sent = grid[0][column], grid[1][column]
        names = [bar.label for bar in part]
        at = [float(i) for i in range(len(part))]
        base = [0.0] * len(part)
        for kind, (colour, hatch) in looks().items():
            heights = [float(bar.of(kind)) for bar in part]
            pages.bar(
                at, heights, 0.8, base, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.4, label=kind
            )
            base = [low + height for low, height in zip(base, heights, strict=True)]
        sent.bar(
            at, [bar.sent_bytes / 1e6 for bar in part], 0.8, color="#6b7f8c", edgecolor=INK, linewidth=0.4
        )
        for axes, top in ((pages, tops[0][column]), (sent, tops[1][column])):
            axes.set_ylim(0, (top or 1.0) * 1.05)
            axes.grid(False, axis="x")
        pages.yaxis.set_major_formatter(_thousands)
        _name_bars(sent, names, 1 if column == 0 else max(count - 1, 1))
    grid[0][0].set_ylabel("pages")
    grid[1][0].set_ylabel("MB sent")
    grid[1][0].set_xlabel("first pass")
    grid[1][1].set_xlabel("later rounds (own scale)")
    figure.legend(
        *grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=LEGEND_COLUMNS,
        handlelength=1.2, columnspacing=1.0,
    )  # fmt: skip


def looks() -> dict[str, tuple[str, str]]:
    """Return colour and hatching of every kind of page records, from the bottom up."""
    others = cycle(OTHER_LOOKS)
    return {kind: LOOKS.get(kind) or next(others) for kind in KINDS}


def _thousands(value: float, _position: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _name_bars(axes: Axes, names: list[str], count: int) -> None:
    axes.set_xlim(-0.6, count - 0.4)
    step = -(-count // 12)
    axes.set_xticks(range(0, len(names), step), names[::step])


def scatter(runs: Sequence[Run]) -> Draw:
    """Return the drawing of total time against bytes on the link of all completed runs."""
    return partial(_scatter, runs=[run for run in runs if run.completed])


def _scatter(figure: Figure, runs: list[Run]) -> None:
    axes = figure.subplots()
    for number, (mode, group) in enumerate(by_mode(runs).items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(
            [run.migration.transferred_bytes / 1e6 for run in group],
            [run.migration.total_time_s for run in group],
            marker, color=colour, markersize=7, markeredgewidth=1.4, label=_short(mode),
        )  # fmt: skip
        forced = [run for run in group if not run.migration.converged]
        axes.plot(
            [run.migration.transferred_bytes / 1e6 for run in forced],
            [run.migration.total_time_s for run in forced],
            "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.8,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("MB on the link")
    axes.set_ylabel("total time, s")
    figure.legend(loc="outside lower center", ncols=2)


def _short(mode: str) -> str:
    # a leading underscore would hide the mode from the legend
    text = mode if len(mode) <= 28 else mode[:27] + "…"
    return f" {text}" if text.startswith("_") else text
