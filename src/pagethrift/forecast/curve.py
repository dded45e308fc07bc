"""A mode on slower and faster links: where it stops converging."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pagethrift.forecast.measured import LEAST_DOWNTIME_S, errors
from pagethrift.forecast.play import Played, Task
from pagethrift.model.forecast import CurvePoint

FACTORS = tuple(2 ** (step / 2) for step in range(-6, 5))
"""of the bandwidth: an eighth to four times"""
HALVINGS = 3
"""of the gap between the slowest link that will do and the next slower one: to 5 %"""


def points(played: Iterable[tuple[Task, Played]]) -> tuple[CurvePoint, ...]:
    """Return one mode's points in order of bandwidth, corrected as the medians of a forecast are."""
    found = [_point(task, one) for task, one in played]
    return tuple(sorted(found, key=lambda point: point.bandwidth_bps))


def _point(task: Task, one: Played) -> CurvePoint:
    if not one.converged:
        return CurvePoint(task.bandwidth_bps)
    wrong = errors(task.candidate.family)
    total_s = wrong.start_s + one.total_time_s * float(np.median(wrong.total_time))
    downtime_s = max(LEAST_DOWNTIME_S, one.downtime_s + float(np.median(wrong.downtime_s)))
    return CurvePoint(task.bandwidth_bps, total_s, downtime_s)


def converges_from(curve: Iterable[CurvePoint]) -> float | None:
    """Return the slowest link from which on a mode converges; None where no border was seen."""
    gap = _gap(curve)
    return gap[1] if gap else None


def next_bandwidth(curve: Iterable[CurvePoint]) -> float | None:
    """Return the bandwidth to try next to find the border; None where there is none."""
    gap = _gap(curve)
    return math.sqrt(gap[0] * gap[1]) if gap else None


def _gap(curve: Iterable[CurvePoint]) -> tuple[float, float] | None:
    """Return the fastest link that fails and the next faster one."""
    in_order = list(curve)
    failing = [place for place, point in enumerate(in_order) if point.total_time_s is None]
    if not failing or failing[-1] + 1 == len(in_order):
        return None
    return in_order[failing[-1]].bandwidth_bps, in_order[failing[-1] + 1].bandwidth_bps
