"""Making a result from the log of every operation: latencies, series, blackout, per phase.

Latency is measured from when an operation was due, not from when it could be sent. So a
server that stops for a second shows in every operation that was due in that second.
Times are CLOCK_MONOTONIC of this machine, the clock of the lab's other events.
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from pagethrift.lab.load.spec import LoadSpec

RESULT_VERSION = 1
_HIGHEST_US = 3_600_000_000

I64 = npt.NDArray[np.int64]


class Kind(IntEnum):
    """The kind of an operation."""

    GET = 0
    SET = 1
    SAME_SET = 2
    """a set that stored the value that the key already had"""
    INCREMENT = 3


class Outcome(IntEnum):
    """How an operation ended."""

    OK = 0
    MISSING = 1
    """a get answered without a value: the server lost or evicted the key"""
    WRONG = 2
    """a get answered with another value than the last set, or an increment with an impossible number"""
    REFUSED = 3
    """the server answered a set with an error"""
    LOST = 4
    """sent, but the connection failed before the answer"""
    SHED = 5
    """never sent: later than ``max_backlog_s``"""


class OperationLog:
    """Every operation of one connection, 18 bytes each; only its own thread appends."""

    def __init__(self) -> None:
        self.due_ns = array("q")
        self.done_ns = array("q")
        self.kind = array("b")
        self.outcome = array("b")

    def add(self, due_ns: int, done_ns: int, kind: int, outcome: int) -> None:
        """Record one operation; times in ns of CLOCK_MONOTONIC."""
        self.due_ns.append(due_ns)
        self.done_ns.append(done_ns)
        self.kind.append(kind)
        self.outcome.append(outcome)


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of the run; an operation belongs to the phase in which it was due."""

    name: str
    began_s: float


@dataclass(frozen=True, slots=True)
class _Table:
    due_ns: I64
    done_ns: I64
    kind: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]

    def where(self, chosen: npt.NDArray[np.bool_]) -> _Table:
        return _Table(self.due_ns[chosen], self.done_ns[chosen], self.kind[chosen], self.outcome[chosen])


def summarise(
    spec: LoadSpec, logs: list[OperationLog], phases: list[Phase], ended_s: float
) -> dict[str, Any]:
    """Return the result of a run as JSON-ready data; counts are named after ``Outcome``.

    ``phases`` are in order of time, the first one beginning with the open loop.
    """
    table = _table(logs)
    began_s = phases[0].began_s
    ends_s = [phase.began_s for phase in phases[1:]] + [ended_s]
    rows = []
    for phase, end_s in zip(phases, ends_s, strict=True):
        chosen = (table.due_ns >= phase.began_s * 1e9) & (table.due_ns < end_s * 1e9)
        rows.append(
            {
                "name": phase.name,
                "began_s": phase.began_s,
                "ended_s": end_s,
                **_summary(table.where(chosen), end_s - phase.began_s),
                **_blackout(table, phase.began_s, end_s),
            }
        )
    return {
        "version": RESULT_VERSION,
        "spec": asdict(spec),
        "began_s": began_s,
        "ended_s": ended_s,
        **_summary(table, ended_s - began_s),
        **_blackout(table, began_s, ended_s),
        "phases": rows,
        "series": _series(table, began_s, ended_s, spec.series_interval_s),
    }


def _table(logs: list[OperationLog]) -> _Table:
    def joined(name: str, dtype: type) -> Any:
        return np.concatenate([np.array(getattr(log, name), dtype) for log in logs] or [np.empty(0, dtype)])

    table = _Table(
        joined("due_ns", np.int64),
        joined("done_ns", np.int64),
        joined("kind", np.int8),
        joined("outcome", np.int8),
    )
    order = np.argsort(table.done_ns, kind="stable")
    return _Table(table.due_ns[order], table.done_ns[order], table.kind[order], table.outcome[order])


def _summary(table: _Table, length_s: float) -> dict[str, Any]:
    answered = int((table.outcome <= Outcome.WRONG).sum())
    histogram = HdrHistogram(1, _HIGHEST_US, 3)
    latency_us = np.clip((table.done_ns - table.due_ns) // 1000, 1, _HIGHEST_US)
    for value, count in zip(*np.unique(latency_us, return_counts=True), strict=True):
        histogram.record_value(int(value), int(count))

    def at(percentile: float) -> float:
        return float(histogram.get_value_at_percentile(percentile)) / 1000

    return {
        "operations": len(table.due_ns),
        "operations_per_s": answered / length_s if length_s > 0 else 0.0,
        "gets": int((table.kind == Kind.GET).sum()),
        "sets": int(np.isin(table.kind, (Kind.SET, Kind.SAME_SET)).sum()),
        "same_value_sets": int((table.kind == Kind.SAME_SET).sum()),
        "increments": int((table.kind == Kind.INCREMENT).sum()),
        **{outcome.name.lower(): int((table.outcome == outcome).sum()) for outcome in Outcome if outcome},
        "errors": int(np.isin(table.outcome, (Outcome.REFUSED, Outcome.LOST)).sum()),
        "latency_ms": {
            "p50": at(50),
            "p90": at(90),
            "p99": at(99),
            "p999": at(99.9),
            "max": float(latency_us.max(initial=0)) / 1000,
            "mean": float(latency_us.mean()) / 1000 if len(latency_us) else 0.0,
        },
        "latency_us_hdr": histogram.encode().decode("ascii"),
    }


def _blackout(table: _Table, began_s: float, ended_s: float) -> dict[str, float]:
    """Return the longest time without a right answer, on all connections, that overlaps the span."""
    good_s = table.done_ns[table.outcome == Outcome.OK] / 1e9
    before = good_s[good_s < began_s][-1:]
    after = good_s[good_s > ended_s][:1]
    inside = good_s[(good_s >= began_s) & (good_s <= ended_s)]
    # Without an answer before or after, the span's own edge counts, and so does silence up to it.
    edges = np.concatenate([before if len(before) else [began_s], inside, after if len(after) else [ended_s]])
    gaps = np.diff(edges)
    longest = int(np.argmax(gaps))
    return {"blackout_s": float(gaps[longest]), "blackout_began_s": float(edges[longest])}


def _series(table: _Table, began_s: float, ended_s: float, interval_s: float) -> dict[str, Any]:
    """Return, for each interval, the right answers that came in it and their latencies."""
    good = table.where(table.outcome == Outcome.OK)
    count = max(1, int(np.ceil((ended_s - began_s) / interval_s)))
    edges_ns = (began_s + interval_s * np.arange(count + 1)) * 1e9
    cuts = np.searchsorted(good.done_ns, edges_ns)
    latency_ms = (good.done_ns - good.due_ns) / 1e6
    parts = [latency_ms[cuts[i] : cuts[i + 1]] for i in range(count)]

    def each(percentile: float) -> list[float | None]:
        return [round(float(np.percentile(part, percentile)), 3) if len(part) else None for part in parts]

    return {
        "began_s": began_s,
        "interval_s": interval_s,
        "operations": [len(part) for part in parts],
        "p50_ms": each(50),
        "p99_ms": each(99),
        "max_ms": each(100),
    }
