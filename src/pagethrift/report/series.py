"""The numbers of the plots: time lines of clients, rounds, and the run that represents a mode."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from pagethrift.model.result import PageCounters, RoundRecord
from pagethrift.report.runs import Client, Run

MOST_BINS = 300
"""most points of a line: about one for each pixel of a small plot"""
TABLE_BINS = 24
MOST_ROUNDS = 24
"""bars; what comes after is added up in the last one"""
HELD = "held"
KINDS = (*(field.name for field in fields(PageCounters)), HELD)
"""what the pages of a bar are, from the bottom up"""
Aggregate = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class TimeLine:
    """What clients measured around a migration; times in seconds since it began."""

    run: Run
    at_s: tuple[float, ...]
    """beginnings of the intervals"""
    width_s: float
    """length of an interval"""
    operations_per_s: tuple[float, ...]
    middle: str
    """kind of the middle latency: p50 or mean"""
    p50_ms: tuple[float | None, ...]
    """median of an interval's medians"""
    p99_ms: tuple[float | None, ...]
    """highest value of an interval"""
    max_ms: tuple[float | None, ...]
    ended_s: float
    """when the migration was over"""
    rounds_s: tuple[float, ...]
    """beginnings of QEMU's rounds"""
    exact: bool
    """whether clocks tell when the migration began; otherwise its beginning is known to about two seconds"""


@dataclass(frozen=True, slots=True)
class Bar:
    """Page records of one round, or of all from ``label`` on."""

    label: str
    began_s: float
    sent_bytes: int
    counted: PageCounters
    held: int

    @property
    def pages(self) -> int:
        """Height of the bar."""
        return self.counted.total + self.held

    def of(self, kind: str) -> int:
        """Return the pages of a kind: the name of a counter, or "held"."""
        return self.held if kind == HELD else dict(self.counted.named())[kind]


def representative(runs: Iterable[Run]) -> Run | None:
    """Return the completed run with the median total time (the lower of two); None without one."""
    completed = [run for run in runs if run.completed]
    completed.sort(key=lambda run: (run.migration.total_time_s, run.folder, run.file, run.repetition))
    return completed[(len(completed) - 1) // 2] if completed else None


def time_line(run: Run, bins: int = MOST_BINS, memcaslap: bool = False) -> TimeLine | None:
    """Return the client's series, or memcaslap's, in at most ``bins`` intervals; None without one."""
    if run.client is None or (series := run.client.memcaslap if memcaslap else run.client.series) is None:
        return None
    began_s = _began_s(run, run.client)
    # the last interval ended early: its throughput would look like a fall
    count = len(series.operations) - 1
    if began_s is None or count < 1:
        return None
    step = -(-count // bins)
    starts = range(0, count, step)
    width_s = step * series.interval_s
    return TimeLine(
        run=run,
        at_s=tuple(series.began_s + start * series.interval_s - began_s for start in starts),
        width_s=width_s,
        operations_per_s=tuple(
            sum(part := series.operations[start : min(start + step, count)]) / (len(part) * series.interval_s)
            for start in starts
        ),
        middle=series.middle,
        p50_ms=_binned(series.p50_ms[:count], step, statistics.median),
        p99_ms=_binned(series.p99_ms[:count], step, max),
        max_ms=_binned(series.max_ms[:count], step, max),
        ended_s=run.migration.total_time_s,
        rounds_s=tuple(round.began_s for round in run.migration.rounds),
        exact=run.client.began_unix_s is not None,
    )


def bars(run: Run) -> list[Bar]:
    """Return the rounds of a run, those after ``MOST_ROUNDS`` in one bar."""
    rounds = run.migration.rounds
    if len(rounds) <= MOST_ROUNDS:
        return [_bar(str(round.round), [round]) for round in rounds]
    alone, rest = rounds[: MOST_ROUNDS - 1], rounds[MOST_ROUNDS - 1 :]
    return [_bar(str(round.round), [round]) for round in alone] + [_bar(f"{rest[0].round}+", rest)]


def _began_s(run: Run, client: Client) -> float | None:
    """Return when the migration began on the clock of the client's series."""
    if client.began_unix_s is not None:
        return client.began_s + run.migration.began_unix_s - client.began_unix_s
    during = client.phases.get("during")
    if during is None:
        return None
    # The phase includes the start of the relay (16 s were seen); it ends with the command.
    migration = run.migration
    return max(during.began_s, during.ended_s - (migration.ended_unix_s - migration.began_unix_s))


def _binned(values: Sequence[float | None], step: int, aggregate: Aggregate) -> tuple[float | None, ...]:
    parts = ([v for v in values[i : i + step] if v is not None] for i in range(0, len(values), step))
    return tuple(aggregate(part) if part else None for part in parts)


def _bar(name: str, rounds: Sequence[RoundRecord]) -> Bar:
    return Bar(
        label=name,
        began_s=rounds[0].began_s,
        sent_bytes=sum(round.sent_bytes for round in rounds),
        counted=sum((round.pages for round in rounds), PageCounters()),
        # held pages wait on from round to round: the last number is what waits, not the sum
        held=rounds[-1].held_pages,
    )


def shared_span_s(lines: Sequence[TimeLine]) -> tuple[float, float]:
    """Return the time axis that fits all lines."""
    return (
        min([0.0, *(line.at_s[0] for line in lines)]),
        max([0.1, *(line.at_s[-1] + line.width_s for line in lines), *(line.ended_s for line in lines)]),
    )
