"""``python -m scripts.studies.faithful --live RESULTS``: the simulator against live migrations.

Live runs are grouped by scenario, mode, bandwidth and compressed channels; each group's median is compared
with one simulation of the trace ``traces/SCENARIO.parquet`` with the same bandwidth, channels, downtime limit
and deadline.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench import machine, output

from pagethrift.errors import UsageError
from pagethrift.forecast.play import PAYLOAD_SHARE
from pagethrift.lab.matrix import read_compared
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.model.channels import CHANNELS, WINDOW_LOG, Compress
from pagethrift.model.result import MigrationResult
from pagethrift.model.run_result import RunResult
from pagethrift.results.find import find
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.simulator.virtual_source import CHUNK_PAGES
from pagethrift.strategies.base import Strategy
from pagethrift.strategies.table import TABLE, strategy
from pagethrift.trace.read import Trace, read_trace
from pagethrift.units import format_bandwidth, format_bytes, format_seconds, parse_size

MEASURES = ("total_time_s", "first_round_bytes", "retransferred_bytes", "downtime_s")
JUDGED = MEASURES
QEMU_ROWS = {
    "plain": "kvm-default",
    "xbzrle": "kvm-xbzrle",
    "auto-converge": "kvm-auto-converge",
    "post-copy": "kvm-post-copy",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Timed live runs of one scenario, mode and bandwidth."""

    scenario: str
    mode: str
    bandwidth_bps: float
    channels: int
    """compressed channels to the destination; 0: pages travelled plain"""
    window_bytes: int
    migrations: tuple[MigrationResult, ...]

    @property
    def compress(self) -> Compress:
        """Which pages travelled compressed: what a run had counts, not what its mode asked for."""
        if not self.channels:
            return Compress.OFF
        return Compress.ON if "compress:on" in self.mode.split("+") else Compress.AUTO

    def median(self, measure: str) -> float | None:
        """Return the median of a measure; None where no run has it."""
        values = [value for each in self.migrations if (value := getattr(each, measure)) is not None]
        return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A group and its simulation; errors are simulated / live - 1."""

    scenario: str
    mode: str
    bandwidth_bps: float
    channels: int
    window_bytes: int
    runs: int
    live_converged: int
    simulated_converged: bool
    live: dict[str, float | None]
    """medians"""
    live_range: dict[str, tuple[float, float]]
    simulated: dict[str, float | None]
    errors: dict[str, float]


def live_groups(live: Path) -> list[Group]:
    """Return the timed lab runs of a folder or an archive, grouped; those with RAM compared stay out.

    Raises UsageError.
    """
    groups: dict[tuple[str, str, float, int, int], list[MigrationResult]] = {}
    for result in (found.result for found in find([live])):
        if not isinstance(result, RunResult) or result.ram is not None:
            continue
        if bandwidth_bps := result.migration.bandwidth_bps:
            migration = result.migration
            # --auto chooses: what ran counts, not that it was chosen
            mode = migration.strategy if result.mode == "auto" else result.mode
            key = (
                result.scenario, mode, bandwidth_bps, migration.channels, migration.window_bytes,
            )  # fmt: skip
            groups.setdefault(key, []).append(migration)
    return [Group(*key, tuple(migrations)) for key, migrations in groups.items()]


def simulated_row(mode: str) -> Strategy | None:
    """Return the strategy that simulates a live mode; None for what the simulator does not know."""
    what, *features = mode.split("+")
    name, _, value = what.partition(":")
    if any(feature.startswith("multifd") for feature in features):
        return None
    if name in TABLE:
        pairs = (part.split("=") for part in value.split(",") if part)
        return strategy(name, "", **{key: float(number) for key, number in pairs})
    if name == "xbzrle" and value:
        return strategy(QEMU_ROWS[name], cache_mib=parse_size(value) / (1 << 20))
    if name == "post-copy":
        return strategy(QEMU_ROWS[name], from_round=PlainFeatures().post_copy_round)
    return strategy(QEMU_ROWS[name]) if name in QEMU_ROWS else None


def compare(group: Group, row: Strategy, trace: Trace, force_after_s: float | None) -> Comparison:
    """Simulate a group's migration and compare."""
    first = group.migrations[0]
    options = SimulateOptions(
        link=LinkSpec(group.bandwidth_bps * PAYLOAD_SHARE),
        downtime_limit_s=first.downtime_limit_s,
        force_after_s=force_after_s,
        as_live=True,
        chunk_pages=0 if first.accelerator == "tcg" else CHUNK_PAGES,
        compress=group.compress,
        channels=group.channels or CHANNELS,
        window_log=group.window_bytes.bit_length() - 1 if group.window_bytes else WINDOW_LOG,
    )
    result = simulate(trace, row, options)
    live = {name: group.median(name) for name in MEASURES}
    simulated = {name: getattr(result, name) for name in MEASURES}
    return Comparison(
        scenario=group.scenario,
        mode=group.mode,
        bandwidth_bps=group.bandwidth_bps,
        channels=group.channels,
        window_bytes=group.window_bytes,
        runs=len(group.migrations),
        live_converged=sum(each.converged for each in group.migrations),
        simulated_converged=result.converged,
        live=live,
        live_range={name: _range(group, name) for name in MEASURES if live[name] is not None},
        simulated=simulated,
        errors={
            name: value / measured - 1
            for name in MEASURES
            if (measured := live[name]) and (value := simulated[name]) is not None
        },
    )


def _range(group: Group, measure: str) -> tuple[float, float]:
    values = [value for each in group.migrations if (value := getattr(each, measure)) is not None]
    return min(values), max(values)


def judge(comparisons: Iterable[Comparison]) -> dict[str, dict[str, float]]:
    """Return median and worst absolute error of each judged measure.

    Without groups that were forced, live and simulated: their times agree because of the deadline.
    """
    found = {}
    every = [each for each in comparisons if each.live_converged or each.simulated_converged]
    for name in JUDGED:
        errors = [abs(each.errors[name]) for each in every if name in each.errors]
        if errors:
            found[name] = {"median": statistics.median(errors), "worst": max(errors), "groups": len(errors)}
    return found


def markdown(comparisons: list[Comparison]) -> str:
    """Return the comparisons as a table, and the errors below."""
    lines = [
        "| scenario, mode, link | runs | converged live / simulated | TT live | simulated | error | TD live"
        " | simulated | error | RD live | simulated | DT live | simulated |",
        "|" + " --- |" * 13,
    ]
    for each in comparisons:
        converged = f"{each.live_converged} of {each.runs} / {'yes' if each.simulated_converged else 'no'}"
        cells = [
            f"{each.scenario}, `{each.mode}`, {format_bandwidth(each.bandwidth_bps)}"
            + (f", {each.channels} channels" if each.channels else ""),
            str(each.runs), converged,
            *_pair(each, "total_time_s"), _error(each, "total_time_s"),
            *_pair(each, "first_round_bytes"), _error(each, "first_round_bytes"),
            *_pair(each, "retransferred_bytes"), *_pair(each, "downtime_s"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    for name, figures in judge(comparisons).items():
        lines.append(
            f"\n{name}: median error {figures['median']:.1%}, worst {figures['worst']:.1%}"
            f" of {figures['groups']:.0f} groups"
        )
    return "\n".join(lines) + "\n"


def _pair(each: Comparison, name: str) -> list[str]:
    as_text = format_bytes if name.endswith("_bytes") else format_seconds
    return ["-" if value is None else as_text(value) for value in (each.live[name], each.simulated[name])]


def _error(each: Comparison, name: str) -> str:
    return f"{each.errors[name]:+.1%}" if name in each.errors else "-"


def study(
    live: Path, scenarios: Path, traces: Path, wanted: Callable[[Group], bool] = lambda group: True
) -> tuple[list[Comparison], list[str]]:
    """Return the wanted groups' comparisons and what was left out, and why. Raises UsageError."""
    comparisons, left_out = [], []
    loaded: dict[str, Trace] = {}
    files = sorted(scenarios.glob("*.toml")) if scenarios.is_dir() else [scenarios]
    deadlines_s = {one.name: one.force_after_s for path in files for one in read_compared(path)}
    for group in filter(wanted, live_groups(live)):
        row, path = simulated_row(group.mode), traces / f"{group.scenario}.parquet"
        if row is None or not path.exists():
            why = "no such row in the simulator" if row is None else f"no trace {path.name}"
            left_out.append(f"{group.scenario}, {group.mode}: {why}")
            continue
        deadline_s = group.median("forced_at_s") or deadlines_s.get(group.scenario)
        if group.scenario not in loaded:
            loaded[group.scenario] = read_trace(path)
        comparisons.append(compare(group, row, loaded[group.scenario], deadline_s))
    return comparisons, left_out


def main(arguments: list[str]) -> None:
    """Print the table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m scripts.studies.faithful", description=__doc__)
    parser.add_argument(
        "--live",
        action="append",
        required=True,
        metavar="RESULTS[=SCENARIOS]",
        help="results of pagethrift lab compare, a folder or an archive, and the folder of scenarios or the"
        " file that was compared (for force_after; default: scenarios); repeatable: what several have is"
        " taken from the first",
    )
    parser.add_argument(
        "--traces", type=Path, default=Path("traces"), metavar="DIR", help="SCENARIO.parquet each"
    )
    parser.add_argument("--scenario", action="append", help="only these, repeatable")
    parser.add_argument("--mode", action="append", help="only these, repeatable")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="e.g. docs/results/faithful.json")
    chosen = parser.parse_args(arguments)

    seen: set[tuple[str, str, float, int, int]] = set()

    def wanted(group: Group) -> bool:
        key = (group.scenario, group.mode, group.bandwidth_bps, group.channels, group.window_bytes)
        fits = (not chosen.scenario or group.scenario in chosen.scenario) and (
            not chosen.mode or group.mode in chosen.mode
        )
        new = key not in seen
        seen.add(key)
        return fits and new

    comparisons, left_out = [], []
    for text in chosen.live:
        folder, _, scenarios = text.partition("=")
        found = study(Path(folder), Path(scenarios or "scenarios"), chosen.traces, wanted)
        comparisons += found[0]
        left_out += found[1]
    if not comparisons:
        why = "; ".join(left_out) or "no result files"
        raise UsageError(f"nothing to compare in {', '.join(chosen.live)}: {why}")
    sys.stdout.write(markdown(comparisons))
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if chosen.out:
        document = {
            "command": f"python -m scripts.studies.faithful {' '.join(arguments)}",
            "machine": machine.facts(),
            "errors": judge(comparisons),
            "left_out": left_out,
            "groups": [asdict(each) for each in comparisons],
        }
        output.write_json(chosen.out, document)


if __name__ == "__main__":
    main(sys.argv[1:])
