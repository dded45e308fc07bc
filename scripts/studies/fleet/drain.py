"""Emptying hosts: an event calculation over guests whose migrations share their host's link.

A migration's progress is a share of the whole, at a rate of 1 / (what all of it would take at the share of
the link that it has now). Where the simulation does not converge at that share, it makes no progress, but
sends on until the manager gives it up: it is then forced over, or would have to be shut down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pagethrift.kernels import kernel
from pagethrift.model.pages import F64, I64, Bools

EPSILON = 1e-9
"""of progress and of seconds: rounding must not make an event that is due seem to lie ahead"""


@dataclass(frozen=True, slots=True)
class Guests:
    """What a drain needs to know of guests, sorted by host; of two-dimensional arrays the rows are guests."""

    host: I64
    """from 0, without gaps"""
    total_s: F64
    sent_bytes: F64
    downtime_s: F64
    converges: Bools
    first_bytes: F64
    """of the first pass"""
    timeout_s: F64
    """after which the manager gives the migration up"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may go on at a time; 0: no limit."""

    a_host: int
    a_group: int
    hosts_at_once: int
    stall_s: float


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of each guest."""

    begun_s: F64
    ended_s: F64
    sent_bytes: F64
    downtime_s: F64
    forced: Bools
    """it did not converge in time"""


@kernel
def _level(running: int, migrations: I64) -> float:
    """Return the column of so many migrations as a fraction: between two columns by the logarithm."""
    last = len(migrations) - 1
    for i in range(last):
        if running < migrations[i + 1]:
            return float(i + np.log(running / migrations[i]) / np.log(migrations[i + 1] / migrations[i]))
    return float(last)


@kernel
def _between(row: F64, level: float) -> float:
    """Return a row's value between two columns, by the logarithm."""
    i = int(level)
    if i == level:
        return float(row[i])
    return float(np.exp(np.log(row[i]) * (i + 1 - level) + np.log(row[i + 1]) * (level - i)))


@kernel
def _drain(
    host: I64,
    hosts: int,
    migrations: I64,
    total_s: F64,
    sent_bytes: F64,
    downtime_s: F64,
    converges: Bools,
    first_bytes: F64,
    timeout_s: F64,
    a_host: int,
    a_group: int,
    hosts_at_once: int,
    stall_limit_s: float,
    begun_s: F64,
    ended_s: F64,
    sent: F64,
    downtime: F64,
    forced: Bools,
) -> None:
    """Carry the drain of a group of hosts out; the last five arguments are written."""
    guests = len(host)
    progress = np.zeros(guests)
    stalled_s = np.zeros(guests)
    left = np.zeros(hosts, np.int64)  # guests that have not ended
    waiting = np.zeros(hosts, np.int64)  # the first guest of each host that has not begun
    end_of = np.zeros(hosts, np.int64)
    running_on = np.zeros(hosts, np.int64)
    for i in range(guests):
        left[host[i]] += 1
        end_of[host[i]] = i + 1
    for h in range(1, hosts):
        waiting[h] = end_of[h - 1]
    open_hosts = np.zeros(hosts, np.int64)
    opened = 0
    next_host = 0
    running = np.zeros(guests, np.int64)
    count = 0
    now_s = 0.0
    while True:
        kept = 0
        for j in range(opened):
            if left[open_hosts[j]] > 0:
                open_hosts[kept] = open_hosts[j]
                kept += 1
        opened = kept
        while opened < hosts_at_once and next_host < hosts:
            open_hosts[opened] = next_host
            opened += 1
            next_host += 1
        for j in range(opened):
            h = open_hosts[j]
            while (
                waiting[h] < end_of[h]
                and (a_host == 0 or running_on[h] < a_host)
                and (a_group == 0 or count < a_group)
            ):
                begun_s[waiting[h]] = now_s
                running[count] = waiting[h]
                count += 1
                waiting[h] += 1
                running_on[h] += 1
        if count == 0:
            return
        step_s = np.inf
        for j in range(count):
            i = running[j]
            level = _level(running_on[host[i]], migrations)
            longer = max(1.0, running_on[host[i]] / migrations[-1])
            whole_s = _between(total_s[i], level) * longer
            step_s = min(step_s, begun_s[i] + timeout_s[i] - now_s)
            if converges[i, int(np.ceil(level))]:
                step_s = min(step_s, (1.0 - progress[i]) * whole_s)
            elif stall_limit_s > 0:
                rate_bps = _between(sent_bytes[i], level) / whole_s
                step_s = min(
                    step_s,
                    max(0.0, _between(first_bytes[i], level) - sent[i]) / rate_bps
                    + stall_limit_s
                    - stalled_s[i],
                )
        step_s = max(0.0, step_s)
        now_s += step_s
        still = 0
        for j in range(count):
            i = running[j]
            level = _level(running_on[host[i]], migrations)
            column = int(np.ceil(level))
            longer = max(1.0, running_on[host[i]] / migrations[-1])
            whole_s = _between(total_s[i], level) * longer
            rate_bps = _between(sent_bytes[i], level) / whole_s
            due = False
            if converges[i, column]:
                stalled_s[i] = 0.0
                progress[i] += step_s / whole_s
                due = progress[i] >= 1.0 - EPSILON
            else:
                before_s = max(0.0, _between(first_bytes[i], level) - sent[i]) / rate_bps
                stalled_s[i] += max(0.0, step_s - before_s)
            sent[i] += rate_bps * step_s
            given_up = begun_s[i] + timeout_s[i] - now_s <= EPSILON * max(1.0, now_s) or (
                stall_limit_s > 0 and stalled_s[i] >= stall_limit_s - EPSILON * max(1.0, now_s)
            )
            if due or given_up:
                ended_s[i] = now_s
                forced[i] = not due
                downtime[i] = downtime_s[i, column] * (longer if not due else 1.0)
                left[host[i]] -= 1
            else:
                running[still] = i
                still += 1
        for j in range(opened):
            running_on[open_hosts[j]] = 0
        for j in range(still):
            running_on[host[running[j]]] += 1
        count = still


def drain(guests: Guests, migrations: I64, limits: Limits) -> Drained:
    """Empty the hosts of a group, the first first, until no guest is left.

    ``migrations``: what the columns of the guests' arrays stand for, how many migrations share a host's link;
    more than the last of them take proportionally longer.
    """
    count = len(guests.host)
    result = Drained(
        np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count, np.bool_)
    )
    _drain(
        guests.host, int(guests.host[-1]) + 1 if count else 0, migrations, guests.total_s, guests.sent_bytes,
        guests.downtime_s, guests.converges, guests.first_bytes, guests.timeout_s, limits.a_host,
        limits.a_group, limits.hosts_at_once, limits.stall_s, result.begun_s, result.ended_s,
        result.sent_bytes, result.downtime_s, result.forced,
    )  # fmt: skip
    return result
