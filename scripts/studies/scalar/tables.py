"""The study's result file as Markdown tables, each below a heading of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scripts.studies.grid import WAYS
from scripts.studies.rows import line
from scripts.studies.scalar.guest import WINDOW_S, WINDOWS_S

from pagethrift.units import format_bandwidth, format_bytes, format_seconds

OURS = "ours"
SIMULATORS: Mapping[str, str] = {
    "cloudsim": "CloudSim",
    "cloudsim_best": "CloudSim, at best",
    "simgrid_all": "SimGrid, all RAM",
    "simgrid": "SimGrid",
    "precopy_limit": "its algorithm, 300 ms",
    OURS: "ours",
}
SHOWN = ("cloudsim", "cloudsim_best", "simgrid", OURS)
"""in the tables of one mode"""
ERRORS: Mapping[str, str] = {"total_time_s": "total time", "sent_bytes": "RAM bytes sent"}
Group = Mapping[str, Any]
Shown = Callable[[float], str]


def markdown(study: Mapping[str, Any]) -> str:
    """Return all tables."""
    rows = list(joined(study))
    parts = [
        ("plain", mode_table([row for row in rows if row["mode"] == "plain"])),
        ("pagethrift", mode_table([row for row in rows if row["mode"] == "pagethrift"])),
        *((title, error_table(rows, measure)) for measure, title in ERRORS.items()),
        ("downtime", downtime_table(rows)),
        ("ends by itself", verdicts(rows)),
        ("dirty rate", rate_table(study, rows)),
        ("content", content_table(study["content"])),
    ]
    return "\n".join(f"## {title}\n\n{text}" for title, text in parts)


def joined(study: Mapping[str, Any]) -> Iterable[Group]:
    """Return the groups, each with ``said``: what every simulator says of it, ours included."""
    cells = {(c["traces"], c["scenario"], c["bandwidth_bps"]): c["predictions"] for c in study["cells"]}
    for group in study["groups"]:
        predictions = cells[group["traces"], group["scenario"], group["bandwidth_bps"]]
        yield {**group, "said": {**predictions, OURS: group["ours"]}}


def ended(group: Group) -> bool:
    """Whether most live runs ended by themselves, not by their deadline."""
    return bool(2 * group["live_converged"] > group["runs"])


def says_it_ends(group: Group, simulator: str) -> bool:
    """Whether a simulator says so; of a live migration that was forced: before that moment."""
    if simulator == OURS:
        return bool(group["ours_converged"])
    total_s = group["said"][simulator]["total_time_s"]
    return total_s is not None and (ended(group) or total_s < group["live"]["total_time_s"])


def error(group: Group, simulator: str, measure: str) -> float | None:
    """Return predicted / live - 1; None where one has no value, or the deadline ended the live migration."""
    said, live = group["said"][simulator][measure], group["live"][measure]
    return said / live - 1 if said is not None and live and ended(group) else None


def mode_table(groups: Sequence[Group]) -> str:
    """Return live, and what each simulator says, of one mode."""
    head = ["guest, link", "TT live, s", *(SIMULATORS[name] for name in SHOWN)]
    for title, shown in (("DT live, ms", ("simgrid", OURS)), ("TD live, MB", ("simgrid", OURS))):
        head += [title, *(SIMULATORS[name] for name in shown)]
    lines = [line(head), line(["---"] * len(head))]
    for group in sorted(groups, key=_order):
        live = group["live"]
        cells = [guest(group), _seconds(live["total_time_s"]) + ("" if ended(group) else " F")]
        cells += [_said(group, name, "total_time_s", _seconds) for name in SHOWN]
        cells += [_milliseconds(live["downtime_s"])]
        cells += [_plain(group, name, "downtime_s", _milliseconds) for name in ("simgrid", OURS)]
        cells += [_megabytes(live["sent_bytes"])]
        cells += [_said(group, name, "sent_bytes", _megabytes) for name in ("simgrid", OURS)]
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def guest(group: Group) -> str:
    """Return a group's guest and link, and its channels if it has any."""
    channels = f", {group['channels']} channels" if group["channels"] else ""
    return f"{group['scenario']}, {format_bandwidth(group['bandwidth_bps'])}{channels}"


def _order(group: Group) -> tuple[int, float, str]:
    return group["channels"], group["bandwidth_bps"], group["scenario"]


def _seconds(value: float) -> str:
    return f"{value:.1f}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.0f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f}"


def _plain(group: Group, name: str, measure: str, show: Shown) -> str:
    value = group["said"][name][measure]
    return "never" if value is None else show(value)


def _said(group: Group, name: str, measure: str, show: Shown) -> str:
    off = error(group, name, measure)
    return _plain(group, name, measure, show) + ("" if off is None else f" ({off:+.0%})")


def error_table(groups: Iterable[Group], measure: str) -> str:
    """Return the median and worst absolute error of each simulator, a line for each mode.

    Of the groups that ended by themselves live. "never": so many of these a simulator never ends.
    """
    head = ["mode", "groups", *SIMULATORS.values()]
    lines = [line(head), line(["---"] * len(head))]
    for mode, found in by_mode(group for group in groups if ended(group)).items():
        cells = [_errors([error(group, name, measure) for group in found]) for name in SIMULATORS]
        lines.append(line([f"`{mode}`", str(len(found)), *cells]))
    return "\n".join(lines) + "\n"


def by_mode(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Return the groups of each mode, modes in the order of the other studies; those with channels apart."""
    order = {way: place for place, way in enumerate(WAYS)}
    found: dict[str, list[Group]] = {}
    for group in groups:
        name = group["mode"] + (f", {group['channels']} channels" if group["channels"] else "")
        found.setdefault(name, []).append(group)
    return dict(sorted(found.items(), key=lambda each: (order.get(each[0], len(order)), each[0])))


def _errors(errors: Sequence[float | None]) -> str:
    known = [abs(each) for each in errors if each is not None]
    never = len(errors) - len(known)
    shown = f"{statistics.median(known):.0%} ({max(known):.0%})" if known else ""
    return ", ".join(filter(None, [shown, f"{never} never" if never else ""]))


def downtime_table(groups: Iterable[Group]) -> str:
    """Return the median and worst distance of the downtimes, of the groups that ended by themselves live."""
    names = ("simgrid", "precopy_limit", OURS)
    head = ["mode", "groups", "live, ms", *(SIMULATORS[name] for name in names)]
    lines = [line(head), line(["---"] * len(head))]
    for mode, found in by_mode(group for group in groups if ended(group)).items():
        live = [group["live"]["downtime_s"] for group in found]
        cells = [mode and f"`{mode}`", str(len(found)), _milliseconds(statistics.median(live))]
        for name in names:
            off = [
                abs(said - group["live"]["downtime_s"])
                for group in found
                if (said := group["said"][name]["downtime_s"]) is not None
            ]
            shown = (_milliseconds(statistics.median(off)), _milliseconds(max(off))) if off else ("-", "-")
            cells.append("{} ({}) off".format(*shown))
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def verdicts(groups: Iterable[Group]) -> str:
    """Return how often each simulator is right on whether QEMU's default ends by itself."""
    names = [name for name in SIMULATORS if not name.startswith("cloudsim")]
    names[-1:-1] = [f"simgrid_{each:g}s" for each in WINDOWS_S if each != WINDOW_S]
    plain = [group for group in groups if group["mode"] == "plain"]
    lines = [line(["simulator", "right", "wrong on"]), line(["---"] * 3)]
    for name in names:
        wrong = [group for group in plain if says_it_ends(group, name) != ended(group)]
        told = "; ".join(guest(group) for group in sorted(wrong, key=_order)) or "-"
        lines.append(line([_title(name), f"{len(plain) - len(wrong)} of {len(plain)}", told]))
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    window = name.removeprefix("simgrid_")
    return SIMULATORS.get(name) or f"SimGrid, dirty rate over {window.removesuffix('s')} s"


def rate_table(study: Mapping[str, Any], groups: Iterable[Group]) -> str:
    """Return each guest's numbers, and the plugin's total times by the dirty rate of each window."""
    plain = {
        (group["traces"], group["scenario"], group["bandwidth_bps"]): group
        for group in groups
        if group["mode"] == "plain"
    }
    head = ["guest, link", "not zero", "written", *(f"in {each:g} s" for each in WINDOWS_S)]
    head += [f"TT by {each:g} s" for each in WINDOWS_S] + ["live"]
    lines = [line(head), line(["---"] * len(head))]
    facts = {(each["traces"], each["scenario"]): each for each in study["guests"]}
    for (traces, scenario, _), group in sorted(plain.items(), key=lambda each: _order(each[1])):
        known = facts[traces, scenario]
        cells = [guest(group), format_bytes(known["nonzero_bytes"]), format_bytes(known["working_set_bytes"])]
        cells += [f"{format_bytes(known['dirty_bps'][f'{each:g}'])}/s" for each in WINDOWS_S]
        for window_s in WINDOWS_S:
            name = "simgrid" if window_s == WINDOW_S else f"simgrid_{window_s:g}s"
            total_s = group["said"][name]["total_time_s"]
            cells.append("never" if total_s is None else format_seconds(total_s))
        cells.append(format_seconds(group["live"]["total_time_s"]) + ("" if ended(group) else " F"))
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def content_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the shares that content settles, and the medians over the guests with and without channels."""
    head = [
        "guest, link",
        "runs",
        "content settles",
        "a hash skips",
        "never sent",
        "of what is on the link",
    ]
    lines = [line(head), line(["---"] * len(head))]
    names = ("settled", "hashed", "never_sent", "on_link")
    for row in rows:
        shares = [f"{row['shares'][name]:.1%}" for name in names]
        lines.append(line([guest(row), str(row["runs"]), *shares]))
    for title, chosen in (
        ("**median, plain records**", [row for row in rows if not row["channels"]]),
        ("**median, compressed channels**", [row for row in rows if row["channels"]]),
    ):
        if chosen:
            medians = [f"{statistics.median(row['shares'][name] for row in chosen):.1%}" for name in names]
            lines.append(line([title, str(sum(row["runs"] for row in chosen)), *medians]))
    return "\n".join(lines) + "\n"
