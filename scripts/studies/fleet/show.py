"""``python -m scripts.studies.fleet.show FILE.json``: the study's tables as Markdown, and its figure."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.studies.rows import line

from pagethrift.units import format_bytes

GREYS = ("0.35", "0.6", "0.8", "1.0")
HATCHES = ("", "", "", "////")
LABELS = {"pagethrift": "pagethrift, 2 channels", "multifd-zstd": "multifd-zstd (model)"}


def markdown(found: Mapping[str, Any]) -> str:
    """Return the fleet and a table for each link; median (least to most) of the draws."""
    lines = ["## fleet", ""]
    lines += [
        f"* {found['draws']} draws of {found['guests']:,} guests",
        f"* hosts: {_spread(found['hosts'], '{:.0f}')}",
        f"* memory: {_of(found['memory_bytes'], _bytes)}",
        f"* of it not zero: {_of(found['used_bytes'], _bytes)}",
        "* dirtied a second: "
        + ", ".join(
            f"{_of(values, _bytes)} by the guest at {quantile}"
            for quantile, values in found["dirty_bps"].items()
        ),
        f"* {found['migrations_simulated']:,} migrations simulated",
    ]
    for link in dict.fromkeys(row["link"] for row in found["scenarios"]):
        lines += ["", f"## {link}", ""]
        heads = (
            "manager", "mode", "a host, median", "a host, 95th", "a group", "sent", "over the limit, guests",
            "seconds over, of those that converge", "to be forced or shut down",
        )  # fmt: skip
        lines += [line(heads), line(["---"] * len(heads))]
        lines += [line(_cells(row)) for row in found["scenarios"] if row["link"] == link]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["manager"],
        f"`{row['strategy']}`",
        _minutes(row["host_median_s"]),
        _minutes(row["host_p95_s"]),
        _minutes(row["window_median_s"]),
        _of(row["sent_bytes"], _bytes),
        _percent(row["over_guests"], row["guests"]),
        _spread(row["own_over_s"], "{:,.0f}"),
        _percent(row["forced"], row["guests"]),
    ]


def _bytes(count: float) -> str:
    return f"{count / 1e12:,.1f} TB" if count >= 1e12 else format_bytes(count)


def _minutes(seconds: list[float]) -> str:
    return _of(seconds, lambda value: f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h")


def _percent(values: list[float], of: list[float]) -> str:
    return _spread([100 * value / of[1] for value in values], "{:.2f} %")


def _spread(values: list[float], form: str) -> str:
    return _of(values, form.format)


def _of(values: list[float], form: Any) -> str:
    least, median, most = map(form, values)
    return median if least == most else f"{median} ({least} to {most})"


def figure(path: Path, found: Mapping[str, Any]) -> None:
    """Draw the time of a host and the guests that do not converge, so that it prints in b/w."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "fleet"
    rows = found["scenarios"]
    groups = list(dict.fromkeys((row["link"], row["manager"]) for row in rows))
    modes = list(dict.fromkeys(row["strategy"] for row in rows))
    drawing, axes = pyplot.subplots(2, 1, figsize=(10, 6.5), layout="constrained", sharex=True)
    width = 0.8 / len(modes)
    titles = ("a host, 95th of 100: hours until it is empty", "guests to be forced or shut down, %")
    for axis, title in zip(axes, titles, strict=True):
        for place, mode in enumerate(modes):
            chosen = {(row["link"], row["manager"]): row for row in rows if row["strategy"] == mode}
            values = [_plotted(chosen[group], axis is axes[0]) for group in groups]
            middle = [value[1] for value in values]
            errors = ([value[1] - value[0] for value in values], [value[2] - value[1] for value in values])
            spots = [spot - 0.4 + (place + 0.5) * width for spot in range(len(groups))]
            axis.bar(
                spots, middle, width, yerr=errors, capsize=2, label=LABELS.get(mode, mode),
                color=GREYS[place], hatch=HATCHES[place], edgecolor="black", linewidth=0.7,
            )  # fmt: skip
        axis.set_title(title, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[1].set_xticks(range(len(groups)), [f"{manager}\n{link}" for link, manager in groups], fontsize=9)
    axes[1].legend(frameon=False, fontsize=9, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)


def _plotted(row: Mapping[str, Any], hours: bool) -> list[float]:
    if hours:
        return [value / 3600 for value in row["host_p95_s"]]
    return [100 * value / row["guests"][1] for value in row["forced"]]


def main(arguments: list[str]) -> None:
    """Print the tables; draw the figure if asked."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.fleet.show", description=__doc__)
    parser.add_argument("result", type=Path, metavar="FILE.json", help="e.g. docs/results/fleet.json")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="e.g. docs/figures/fleet.svg")
    chosen = parser.parse_args(arguments)
    found = json.loads(chosen.result.read_text())
    if chosen.figure:
        figure(chosen.figure, found)
    sys.stdout.write(markdown(found))


if __name__ == "__main__":
    main(sys.argv[1:])
