"""The figures of a scenario, for page and files: a drawing, its words, and its numbers as a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pagethrift.report import plots
from pagethrift.report.drawing import Draw
from pagethrift.report.runs import Run
from pagethrift.report.series import (
    KINDS,
    TABLE_BINS,
    Bar,
    TimeLine,
    bars,
    representative,
    shared_span_s,
    time_line,
)
from pagethrift.report.summary import by_mode, timed
from pagethrift.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, not drawn yet."""

    key: str
    """unique in a report; letters, digits and dashes"""
    title: str
    description: str
    draw: Draw
    size_in: tuple[float, float]
    headings: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    """the figure's numbers as a table"""


def time_line_figures(scenario: str, runs: Sequence[Run], memcaslap: bool = False) -> list[Figure]:
    """Return throughput and latency over time of one run of each mode; ``scenario`` is its key.

    ``memcaslap``: as measured by that load generator, like figures 10 and 11 of the thesis.
    """
    chosen = _representatives(runs)
    lines = [line for run in chosen if (line := time_line(run, memcaslap=memcaslap))]
    if not lines:
        return []
    draws = plots.time_lines(lines, shared_span_s(lines))
    return [
        Figure(
            key=_key(scenario, "memcaslap" if memcaslap else "time", number, line.run.mode),
            title=f"{line.run.mode}, memcaslap" if memcaslap else line.run.mode,
            description=_time_line_words(line),
            draw=draw,
            size_in=plots.TIME_LINE_IN,
            headings=("from, s", "answers/s", f"{line.middle}, ms", "p99, ms", "max, ms"),
            table=_time_table(line.run, memcaslap),
        )
        for number, (line, draw) in enumerate(zip(lines, draws, strict=True), 1)
    ]


def round_figures(scenario: str, runs: Sequence[Run]) -> list[Figure]:
    """Return pages and bytes of the rounds of one run of each mode; ``scenario`` is its key."""
    chosen = [run for run in _representatives(runs) if run.migration.rounds]
    parts = [bars(run) for run in chosen]
    return [
        Figure(
            key=_key(scenario, "rounds", number, run.mode),
            title=run.mode,
            description=_rounds_words(run, part),
            draw=draw,
            size_in=plots.ROUNDS_IN,
            headings=("round", "from, s", *KINDS, "bytes sent"),
            table=tuple(_round_cells(bar) for bar in part),
        )
        for number, (run, part, draw) in enumerate(zip(chosen, parts, plots.rounds(parts), strict=True), 1)
    ]


def scatter_figure(scenario: str, runs: Sequence[Run]) -> Figure | None:
    """Return total time against bytes of all timed runs; ``scenario`` is its key."""
    shown = [run for group in by_mode(timed(runs)).values() for run in group]
    if not any(run.completed for run in shown):
        return None
    forced = sum(run.completed and not run.migration.converged for run in shown)
    failed = sum(not run.completed for run in shown)
    return Figure(
        key=_key(scenario, "scatter", 1, "all-runs"),
        title="Time against bytes, all runs",
        description=f"Total time against bytes on the link of {len(shown) - failed} runs, a marker shape for"
        f" each mode; a ring marks the {forced} that had to be forced."
        + (f" {failed} failed runs are in the table only." if failed else ""),
        draw=plots.scatter(shown),
        size_in=plots.SCATTER_IN,
        headings=("mode", "repetition", "total time", "on the link", "outcome", "file"),
        table=tuple(_run_cells(run) for run in shown),
    )


def outcome(run: Run) -> str:
    """Return how a run ended, in words."""
    if not run.completed:
        return run.migration.outcome.value
    return "converged" if run.migration.converged else "forced"


def _representatives(runs: Sequence[Run]) -> list[Run]:
    return [run for group in by_mode(timed(runs)).values() if (run := representative(group))]


def _key(scenario: str, kind: str, number: int, mode: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", mode.lower()).strip("-")[:40]
    return f"{scenario}-{kind}-{number}" + (f"-{words}" if words else "")


def _time_line_words(line: TimeLine) -> str:
    migration = line.run.migration
    gap = migration.blackout_s
    words = f"{outcome(line.run)}, took {format_seconds(line.ended_s)}"
    words += "" if gap is None else f", longest gap {format_seconds(gap)}"
    words += f"; intervals of {format_seconds(line.width_s)}, run {line.run.repetition} ({line.run.file})"
    return words + ("" if line.exact else "; where it began is known to about two seconds")


def _rounds_words(run: Run, part: Sequence[Bar]) -> str:
    later = sum(bar.sent_bytes for bar in part[1:])
    words = f"{len(run.migration.rounds)} rounds; first pass {format_bytes(part[0].sent_bytes)},"
    return f"{words} later rounds {format_bytes(later)}; run {run.repetition} ({run.file})"


def _time_table(run: Run, memcaslap: bool) -> tuple[tuple[str, ...], ...]:
    line = time_line(run, TABLE_BINS, memcaslap)
    assert line is not None
    columns = zip(line.at_s, line.operations_per_s, line.p50_ms, line.p99_ms, line.max_ms, strict=True)
    return tuple(
        (f"{at:.1f}", f"{rate:.0f}", *("-" if v is None else f"{v:.4g}" for v in latencies))
        for at, rate, *latencies in columns
    )


def _round_cells(bar: Bar) -> tuple[str, ...]:
    kinds = (str(bar.of(kind)) for kind in KINDS)
    return (bar.label, f"{bar.began_s:.2f}", *kinds, str(bar.sent_bytes))


def _run_cells(run: Run) -> tuple[str, ...]:
    return (
        run.mode, str(run.repetition), format_seconds(run.migration.total_time_s),
        format_bytes(run.migration.transferred_bytes), outcome(run), f"{run.folder}/{run.file}",
    )  # fmt: skip
