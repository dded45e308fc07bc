"""The drawing of a forecast: total time and downtime against the link; where modes stop converging."""

from __future__ import annotations

from functools import partial
from math import nan
from typing import TYPE_CHECKING

from pagethrift.model.forecast import Forecast, ModeForecast
from pagethrift.report.drawing import INK, Draw
from pagethrift.report.plots import COLOURS, MARKERS
from pagethrift.units import format_bandwidth, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_IN = (8.3, 6.4)


def drawing(forecast: Forecast) -> Draw:
    """Return the drawing of a forecast that has curves."""
    return partial(_draw, forecast=forecast)


def in_words(forecast: Forecast) -> str:
    """Return the drawing in words, for screen readers."""
    return " ".join(f"{mode.name}: {_from_words(mode)}." for mode in forecast.modes if mode.curve)


def _from_words(mode: ModeForecast) -> str:
    if mode.converges_from_bps is not None:
        return f"converges from {format_bandwidth(mode.converges_from_bps)} on"
    ends = any(point.total_time_s is not None for point in mode.curve)
    return "converges on every link tried" if ends else "converges on no link tried"


def _draw(figure: Figure, forecast: Forecast) -> None:
    total, downtime = figure.subplots(2, 1, sharex=True)
    for number, mode in enumerate(each for each in forecast.modes if each.curve):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        at = [point.bandwidth_bps * 8 / 1e6 for point in mode.curve]
        for axes, values in (
            (total, [point.total_time_s for point in mode.curve]),
            (downtime, [None if p.downtime_s is None else p.downtime_s * 1000 for p in mode.curve]),
        ):
            axes.plot(
                at, [nan if value is None else value for value in values], color=colour, marker=marker,
                markersize=3.5, linewidth=1.2, label=f"{mode.name}: {_from_words(mode)}",
            )  # fmt: skip
            if mode.converges_from_bps is not None:
                axes.axvline(mode.converges_from_bps * 8 / 1e6, color=colour, linewidth=0.9, linestyle=":")
    total.set_ylabel("total time, s")
    downtime.set_ylabel("downtime, ms")
    downtime.set_xlabel("link, Mbit/s (dotted: slower than this a mode does not converge)")
    limit_ms = forecast.downtime_limit_s * 1000
    downtime.axhline(limit_ms, color=INK, linewidth=0.8, linestyle="--")
    downtime.annotate(
        f"limit {format_seconds(forecast.downtime_limit_s)}", (1, limit_ms), (-2, 2), ha="right",
        xycoords=("axes fraction", "data"), textcoords="offset points",
    )  # fmt: skip
    for axes in (total, downtime):
        _logarithmic(axes, forecast.bandwidth_bps * 8 / 1e6)
    figure.legend(*total.get_legend_handles_labels(), loc="outside upper center", ncols=2)


def _logarithmic(axes: Axes, here_mbit: float) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.axvspan(here_mbit * 0.97, here_mbit * 1.03, color=INK, alpha=0.09, linewidth=0)
