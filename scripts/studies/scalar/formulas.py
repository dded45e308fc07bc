"""What scalar simulators make of a migration: CloudSim's formula, and the algorithm of SimGrid's plugin.

A scalar simulator knows a guest by numbers: bytes of RAM, bytes dirtied a second, the most that is dirty
at once.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOUDSIM_SHARE = 0.5
"""of the host's bandwidth goes to a migration: fixed in CloudSim (PowerDatacenter), the default of CloudSim
Plus (Datacenter.DEF_BW_PERCENT_FOR_MIGRATION)"""
SIMGRID_DOWNTIME_S = 0.03
"""the plugin's limit; it has a function that reads it (sg_vm_get_max_downtime) and none that sets it"""
HORIZON_S = 3600.0
"""virtual seconds after which a migration counts as one that never ends"""


@dataclass(frozen=True, slots=True)
class Scalars:
    """A guest and its link as a scalar simulator sees them."""

    ram_bytes: float
    dirty_bps: float
    """bytes of pages written to in a second, each page once"""
    working_set_bytes: float
    """the most that can be dirty after a round"""
    link_bps: float
    """bytes per second"""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a simulator says; None: it says nothing of that, or the migration never ends."""

    total_time_s: float | None
    downtime_s: float | None
    sent_bytes: float | None


NEVER = Prediction(None, None, None)


def cloudsim(guest: Scalars, share: float = CLOUDSIM_SHARE) -> Prediction:
    """Return CloudSim's migration: RAM over the bandwidth's share, whatever the guest writes."""
    return Prediction(guest.ram_bytes / (guest.link_bps * share), None, guest.ram_bytes)


def precopy(
    guest: Scalars, downtime_limit_s: float = SIMGRID_DOWNTIME_S, horizon_s: float = HORIZON_S
) -> Prediction:
    """Return what SimGrid's plugin does, as its source defines it, with any limit.

    All RAM first; then, again and again, what was dirtied meanwhile, until that takes at most the limit; then
    the guest is stopped and the rest is sent. A migration that the horizon (virtual seconds) cuts off never
    ends.
    """
    now_s, sent_bytes, round_bytes = 0.0, 0.0, guest.ram_bytes
    while True:
        round_s = round_bytes / guest.link_bps
        now_s += round_s
        sent_bytes += round_bytes
        round_bytes = min(guest.dirty_bps * round_s, guest.working_set_bytes)
        downtime_s = round_bytes / guest.link_bps
        if now_s + downtime_s > horizon_s:
            return NEVER
        if downtime_s <= downtime_limit_s:
            return Prediction(now_s + downtime_s, downtime_s, sent_bytes + round_bytes)
