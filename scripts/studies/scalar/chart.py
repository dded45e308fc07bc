"""The study as one picture: each simulator's total time over the live one, a line for each guest and link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from scripts.studies.scalar.tables import OURS, Group, ended, guest, joined

from pagethrift.report.drawing import INK, standalone_svg
from pagethrift.report.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN, ROW_IN, HEAD_IN = 8.3, 0.2, 1.1
LOOKS: Mapping[str, tuple[str, str, str]] = {
    "cloudsim": ("CloudSim", "s", COLOURS[1]),
    "simgrid": ("SimGrid", "^", COLOURS[3]),
    OURS: ("ours", "o", COLOURS[0]),
}
"""name in the legend, marker, colour"""
MODES = {"plain": "QEMU's default", "pagethrift": "pagethrift"}


def svg(study: Mapping[str, Any]) -> str:
    """Return the picture. A live migration that was forced has no total time of its own and is left out."""
    rows = [group for group in joined(study) if group["mode"] in MODES and ended(group)]
    rows.sort(key=lambda each: (list(MODES).index(each["mode"]), each["channels"], each["bandwidth_bps"],
                                each["scenario"]))  # fmt: skip
    described = " ".join(_in_words(group) for group in rows)
    drawn = standalone_svg(
        partial(_draw, groups=rows),
        (WIDTH_IN, HEAD_IN + ROW_IN * (len(rows) + len({group["mode"] for group in rows}))),
        "Total times of three simulators over live ones",
        described,
    )
    return str(drawn)


def _ratio(group: Group, name: str) -> float | None:
    said = group["said"][name]["total_time_s"]
    return None if said is None else said / group["live"]["total_time_s"]


def _in_words(group: Group) -> str:
    told = []
    for name, (title, _, _) in LOOKS.items():
        ratio = _ratio(group, name)
        told.append(f"{title} {'never ends' if ratio is None else f'{ratio:.2f}'}")
    return f"{MODES[group['mode']]}, {guest(group)}: {', '.join(told)}."


def _draw(figure: Figure, groups: Sequence[Group]) -> None:
    axes = figure.subplots()
    places, names, at, mode = [], [], 0, ""
    for group in groups:
        if group["mode"] != mode:
            mode = group["mode"]
            places.append(at)
            names.append(f"{MODES[mode]}:")
            at += 1
        for name, (_, marker, colour) in LOOKS.items():
            ratio = _ratio(group, name)
            if ratio is not None:
                axes.plot([ratio], [at], marker, color=colour, markersize=5)
        places.append(at)
        names.append(guest(group))
        at += 1
    for title, marker, colour in LOOKS.values():
        axes.plot([], [], marker, color=colour, markersize=5, label=title)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50]
    axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
    axes.minorticks_off()
    axes.set_xlabel("simulated total time / live (1: exact)")
    axes.set_yticks(places, names)
    axes.set_ylim(at - 0.4, -0.6)
    figure.legend(loc="outside upper center", ncols=len(LOOKS))
