"""Guests of one group of hosts, drawn: memory, trace, pace, place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scripts.studies.fleet.drain import Guests
from scripts.studies.fleet.spec import GIB, Manager, Spec
from scripts.studies.fleet.table import Table, TraceFacts

from pagethrift.model.pages import F64, I64
from pagethrift.simulator.simulate_options import ZERO_BPS


@dataclass(frozen=True, slots=True)
class Population:
    """The guests of a group, sorted by host."""

    memory_gib: F64
    used_bytes: F64
    """not zero"""
    trace: I64
    dirty_bps: F64
    """bytes of pages written a second"""
    size: I64
    """place in the table's axis"""
    speed: I64
    host: I64


def draw(spec: Spec, traces: tuple[TraceFacts, ...], number: int, part: int, count: int) -> Population:
    """Draw ``count`` guests; the same ``number`` of the draw and of the part give the same guests.

    What a whole draw has in common (shares of the classes, exponent) depends on ``number`` alone.
    """
    common = np.random.default_rng([spec.seed, number])
    shares = common.dirichlet(spec.concentration * np.array([share for _, share in spec.classes]))
    pace_shares = common.dirichlet(spec.concentration * np.array(spec.pace_shares))
    exponent = spec.exponents[number % len(spec.exponents)]
    rng = np.random.default_rng([spec.seed, number, 1 + part])
    counts = np.array([each for _, each in spec.sizes], np.float64)
    memory = rng.choice([size for size, _ in spec.sizes], count, p=counts / counts.sum())
    trace = rng.choice(len(shares), count, p=shares)
    pace = rng.choice(spec.paces, count, p=pace_shares)
    used = rng.uniform(*spec.used, count) * memory * GIB
    ram = np.array([each.ram_bytes for each in traces], np.float64)[trace]
    trace_used = np.array([each.used_bytes for each in traces], np.float64)[trace]
    trace_dirty = np.array([each.dirty_bps for each in traces])[trace]
    dirty = trace_dirty * pace * (memory * GIB / ram) ** exponent
    sizes = np.array(spec.used_gib)
    size = _nearest(used / GIB, sizes)
    speed = dirty / trace_dirty * trace_used / (sizes[size] * GIB)
    return Population(
        memory, used, trace, dirty, size,
        _one_of_two(speed, np.array(spec.speeds), rng), _placed(memory, spec.host_memory),
    )  # fmt: skip


def guests(
    population: Population, spec: Spec, table: Table, link: int, strategy: int, manager: Manager
) -> Guests:
    """Look the guests' migrations up; a guest between two sizes takes proportionally longer or shorter."""
    at = (population.trace, population.size, population.speed, link, strategy)
    ratio = (population.used_bytes / (np.array(spec.used_gib)[population.size] * GIB))[:, None]
    zero_s = (population.memory_gib * GIB - population.used_bytes)[:, None] / ZERO_BPS
    counted_gib = np.maximum(manager.least_gib, population.memory_gib)
    timeout_s = manager.timeout + manager.timeout_a_gib * counted_gib
    return Guests(
        population.host, table.total_s[at] * ratio + zero_s, table.sent_bytes[at] * ratio,
        table.downtime_s[at], table.converges[at], table.first_bytes[at] * ratio, timeout_s,
    )  # fmt: skip


def _nearest(values: F64, grid: F64) -> I64:
    found: I64 = np.abs(np.log(values)[:, None] - np.log(grid)[None, :]).argmin(axis=1)
    return found


def _one_of_two(values: F64, grid: F64, rng: np.random.Generator) -> I64:
    """Return one of the two nearest places, the nearer the likelier: on average the logarithm is kept."""
    place = np.interp(np.log(values), np.log(grid), np.arange(len(grid)))
    return np.floor(place + rng.random(len(place))).astype(np.int64).clip(0, len(grid) - 1)


def _placed(memory_gib: F64, host_gib: float) -> I64:
    """Fill one host after the other, in the order drawn."""
    host = np.zeros(len(memory_gib), np.int64)
    free_gib, current = host_gib, 0
    for i, size in enumerate(memory_gib):
        if size > free_gib:
            free_gib, current = host_gib, current + 1
        free_gib -= size
        host[i] = current
    return host
