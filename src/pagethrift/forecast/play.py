"""One simulated migration of a forecast: what is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pagethrift.errors import UsageError
from pagethrift.forecast.candidates import Candidate
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.model.result import Outcome
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.simulator.virtual_source import CHUNK_PAGES
from pagethrift.trace.read import Trace

PAYLOAD_SHARE = 1448 / 1514
"""of a link's rate: an Ethernet frame carries 1448 bytes of TCP payload"""
SPREAD = 0.05
"""nobody knows a link's rate exactly, and others use it too"""


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """What is known of the migration that is to come."""

    bandwidth_bps: float
    """the link's rate, bytes per second"""
    bandwidth_spread: float = SPREAD
    """the link carries this share more or less, each value as likely"""
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    force_after_s: float | None = None
    """as in `migrate`: when the switchover is forced"""
    channels: bool = True
    """whether the destination can take compressed channels"""
    relayed: bool = False
    """leave out what migrates without the relay"""
    libvirt: bool = False
    """of a domain, which ``pagethrift libvirt migrate`` moves, or virsh"""
    added_s: float = 0.0
    """of each downtime, what libvirt takes for itself; the limit is kept with that"""
    unread_bytes: int = 0
    """for each connection, what lies between QEMU and relay and is read in the downtime"""
    curve: bool = False
    """also simulate slower and faster links, for a plot"""

    def under(self, task: Task) -> Task:
        """Return a migration with what libvirt adds to its downtime, and with the limit that this leaves.

        QEMU's own rule knows nothing of that; a planner keeps at least half of the limit.
        """
        unread_bytes = 0 if task.candidate.plain else self.unread_bytes * (1 + task.candidate.channels)
        added_s = self.added_s + unread_bytes / (task.bandwidth_bps * PAYLOAD_SHARE)
        limit_s = task.downtime_limit_s
        left_s = limit_s if task.candidate.plain else max(limit_s / 2, limit_s - added_s)
        return replace(task, downtime_limit_s=left_s, added_s=added_s)

    def check(self) -> None:
        """Raise UsageError for impossible settings."""
        if not self.bandwidth_bps > 0:
            raise UsageError("the bandwidth must be positive, e.g. 1Gbit")
        if not 0 <= self.bandwidth_spread < 1:
            raise UsageError(f"--bandwidth-spread {self.bandwidth_spread:g}: choose 0 to less than 1")
        if not self.downtime_limit_s > 0:
            raise UsageError("the downtime limit must be positive, e.g. 300ms")
        if self.force_after_s is not None and not self.force_after_s > 0:
            raise UsageError("--force-after must be positive, e.g. 60s")


@dataclass(frozen=True, slots=True)
class Task:
    """One migration to be simulated."""

    candidate: Candidate
    bandwidth_bps: float
    """of the link, headers included"""
    begin_s: float
    """where in the trace it begins"""
    downtime_limit_s: float
    give_up_s: float
    force_after_s: float | None = None
    added_s: float = 0.0
    """to the downtime, by libvirt"""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it."""

    completed: bool
    converged: bool
    """completed by itself, not forced"""
    total_time_s: float
    downtime_s: float
    """0 unless completed"""
    data_bytes: int
    content_pages: int
    """neither zero nor compressed"""
    compressed_pages: int
    used_pages: float
    """pages of the guest that are not zero"""


def play(trace: Trace, task: Task) -> Played:
    """Simulate one migration; the same arguments give the same outcome."""
    link_bps = task.bandwidth_bps * PAYLOAD_SHARE
    options = SimulateOptions(
        link=LinkSpec(link_bps),
        downtime_limit_s=task.downtime_limit_s,
        force_after_s=task.force_after_s,
        give_up_s=task.give_up_s,
        as_live=True,
        chunk_pages=0 if trace.header.accelerator == "tcg" else CHUNK_PAGES,
        warm_up_s=task.begin_s,
        compress=task.candidate.compress,
    )
    result = simulate(trace, task.candidate.made(), options)
    pages = result.pages
    return Played(
        completed=result.outcome is Outcome.COMPLETED,
        converged=result.converged,
        total_time_s=result.total_time_s,
        downtime_s=result.downtime_s + task.added_s if result.downtime_s else 0.0,
        data_bytes=result.first_round_bytes + result.retransferred_bytes,
        content_pages=pages.total - pages.zero - pages.compressed,
        compressed_pages=pages.compressed,
        used_pages=(result.one_pass_bound_s or 0.0) * link_bps / PAGE_BYTES,
    )
