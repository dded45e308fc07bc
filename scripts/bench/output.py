"""The table on the terminal, the JSON file and the plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLUMNS = (
    ("mb_per_s", "MB/s", 0),
    ("percent_of_cat", "% of cat", 0),
    ("ns_per_page", "ns/page", 0),
    ("cpu_s_per_gb", "CPU s/GB", 2),
    ("peak_rss_mib", "RSS MiB", 0),
    ("startup_s", "start-up s", 2),
    ("out_share", "out/in", 3),
)
PLOTTED = (
    "cat, pipes",
    "thin kvm-default, pipes",
    "thin thesis, pipes",
    "thin pagethrift, pipes",
    "thin pagethrift, in process",
)
HATCHES = ("", "....", "////", "xxxx", "----")
GREYS = ("0.85", "1.0", "0.75", "0.5", "0.95")


def table(mix: str, result: dict[str, Any]) -> str:
    """Return the rows of one mix: medians, and minimum and maximum of the speed."""
    lines = [
        f"{mix}: {result['summary']} (MB on the clock: "
        f"commands {result['pipe_bytes'] / 1e6:.0f}, in process {result['in_process_bytes'] / 1e6:.0f})",
        f"  {'':32}" + "".join(f"{title:>12}" for _, title, _ in COLUMNS) + f"{'MB/s min..max':>18}",
    ]
    for name, figures in result["measures"].items():
        cells = []
        for key, _, digits in COLUMNS:
            value = figures.get(key)
            cells.append(f"{'' if value is None else format(value['median'], f'.{digits}f'):>12}")
        speed = figures["mb_per_s"]
        lines.append(f"  {name:32}{''.join(cells)}{speed['min']:>9.0f}..{speed['max']:.0f}")
    return "\n".join(lines)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a result file; lists of numbers stay on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_compact(document, 0) + "\n")


def _compact(value: Any, depth: int) -> str:
    if isinstance(value, dict) and value:
        pad = "  " * (depth + 1)
        rows = [f"{pad}{json.dumps(str(key))}: {_compact(item, depth + 1)}" for key, item in value.items()]
        text = json.dumps(value)
        return text if len(text) < 100 and depth else "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    return json.dumps(value)


def plot(path: Path, document: dict[str, Any]) -> None:
    """Draw the speed of the commands for each mix; greys and hatches, so that it prints in b/w."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    mixes = document["mixes"]
    names = [name for name in PLOTTED if any(name in mix["measures"] for mix in mixes.values())]
    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    width = 0.8 / max(1, len(names))
    for place, name in enumerate(names):
        spots, medians, below, above = [], [], [], []
        for spot, mix in enumerate(mixes.values()):
            if name not in mix["measures"]:
                continue
            speed = mix["measures"][name]["mb_per_s"]
            spots.append(spot - 0.4 + (place + 0.5) * width)
            medians.append(speed["median"])
            below.append(speed["median"] - speed["min"])
            above.append(speed["max"] - speed["median"])
        which = PLOTTED.index(name)
        axes.bar(
            spots, medians, width, yerr=(below, above), capsize=2, label=name,
            color=GREYS[which], hatch=HATCHES[which], edgecolor="black", linewidth=0.7,
        )  # fmt: skip
    axes.set_xticks(range(len(mixes)), list(mixes), fontsize=9)
    axes.set_ylabel("MB/s of input (median, min to max)")
    axes.set_title("One core: cat and pagethrift thin on the same streams", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.savefig(path)
    pyplot.close(figure)
