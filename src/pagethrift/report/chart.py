"""One picture of a result: total time and downtime of each mode, side by side, as bars with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pagethrift.report.against import OWN
from pagethrift.report.drawing import INK, Draw
from pagethrift.report.estimate import Spread
from pagethrift.report.measures import MEASURES
from pagethrift.report.plots import COLOURS
from pagethrift.report.runs import Run
from pagethrift.report.summary import Row, rows
from pagethrift.units import format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 8.3
"""width in inches: on a page 830 pixels wide, letters of 9 points become 12 pixels"""
BAR_IN = 0.24
"""height of a bar with the space to the next one"""
HEAD_IN = 0.45
OTHERS = "#8a949c"
"""contrast 3:1 against white and against a dark page, like COLOURS"""
TEXT_SHARE = 0.5
"""multiple of the longest bar's length: room for the number after it"""
_TOTAL, _DOWNTIME = (next(m for m in MEASURES if m.key == key) for key in ("total_time_s", "downtime_s"))


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and its description for screen readers."""

    draw: Draw
    size_in: tuple[float, float]
    title: str
    description: str


def chart(scenarios: Mapping[str, Sequence[Run]]) -> Chart:
    """Return the chart of all modes of all scenarios; ``scenarios`` as `by_scenario` returns them."""
    groups = {name: [row for row in rows(runs) if row.runs] for name, runs in scenarios.items()}
    limits_s = {run.migration.downtime_limit_s for runs in scenarios.values() for run in runs}
    lines = sum(map(len, groups.values())) + (len(groups) if len(groups) > 1 else 0)
    return Chart(
        draw=partial(_draw, groups=groups, limit_s=limits_s.pop() if len(limits_s) == 1 else None),
        size_in=(WIDTH_IN, HEAD_IN + BAR_IN * lines),
        title=f"Total time and downtime: {', '.join(groups)}",
        description=" ".join(_in_words(name, row) for name, group in groups.items() for row in group),
    )


def _in_words(scenario: str, row: Row) -> str:
    forced = ", forced" if _forced(row) else ""
    downtime = row.show_median(_DOWNTIME)
    return f"{scenario}, {_name(row)}: {row.show_median(_TOTAL)}{forced}, downtime {downtime}."


def _name(row: Row) -> str:
    """Return the mode's name as in the tables, with QEMU or pagethrift before it."""
    return row.mode if row.relayed else f"QEMU {row.mode}"


def _forced(row: Row) -> bool:
    return row.runs > row.failed and row.converged == 0


def _draw(figure: Figure, groups: Mapping[str, Sequence[Row]], limit_s: float | None) -> None:
    total, downtime = figure.subplots(1, 2, sharey=True)
    at, names, places = 0.0, [], []
    for scenario, group in groups.items():
        if len(groups) > 1:
            total.text(0, at + 0.1, scenario, weight="bold", va="center")
            at += 1
        for row in group:
            _bar(total, at, row, "total_time_s")
            _bar(downtime, at, row, "downtime_s")
            names.append(_name(row))
            places.append(at)
            at += 1
    allowed = "" if limit_s is None else f" (allowed: {format_seconds(limit_s)})"
    for axes, title in ((total, "Total time"), (downtime, f"Downtime{allowed}")):
        axes.set_title(title, loc="left", fontsize=10, weight="bold")
        axes.set_xlim(0, axes.get_xlim()[1] * (1 + TEXT_SHARE))
        axes.set_xticks([])
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    if limit_s is not None:
        downtime.axvspan(0, limit_s, color=INK, alpha=0.09, linewidth=0, zorder=0)
    total.set_yticks(places, names)
    total.set_ylim(at - 0.4, -0.6)


def _bar(axes: Axes, at: float, row: Row, key: str) -> None:
    found = row.estimates.get(key)
    if found is None:
        axes.text(0, at, " failed" if row.failed else " not measured", va="center")
        return
    own = row.relayed and row.strategy == OWN
    axes.barh(
        at, found.median, 0.72, color=COLOURS[0] if own else OTHERS, edgecolor=INK, linewidth=0.4,
        hatch="////" if _forced(row) else "",
    )  # fmt: skip
    if found.spread is not Spread.NONE:
        axes.plot([found.low, found.high], [at, at], color=INK, linewidth=1.0)
    note = ", forced" if _forced(row) and key == "total_time_s" else ""
    axes.annotate(
        f"{format_seconds(found.median)}{note}", (max(found.median, found.high), at), (4, 0),
        textcoords="offset points", va="center", weight="bold" if own else "normal",
    )  # fmt: skip
