"""Facts a stop rule decides on, and what it may decide. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class StopFacts:
    """The state of a migration at one instant, as live and simulated migrations see it."""

    now_s: float
    """seconds since the migration began"""
    round: int
    """rounds begun so far; 0 = the first pass over all RAM"""
    round_began_s: float
    """when the current round began (last dirty-bitmap sync), on the clock of ``now_s``"""
    total_pages: int
    """pages of all migratable RAM blocks"""
    remaining_pages: int
    """pages QEMU still has to send in this round"""
    dirty_pages_per_s: float
    """distinct pages dirtied per second in the last complete round, 0 while unknown"""
    first_round_bytes: int
    retransferred_bytes: int
    round_sent_bytes: tuple[int, ...]
    """RAM bytes forwarded in each round begun so far, the current one last"""
    round_dirty_pages: tuple[int, ...]
    """pages dirty at the start of each round begun so far"""
    retransferred_pages: int
    """page records that arrived again so far, skipped ones included"""
    held_bytes: int
    """what releasing every held page now would put on the link"""
    unsent_bytes: int
    """made but not yet on the link"""
    link_bps: float
    """bytes per second, 0 while unknown"""
    downtime_limit_s: float


class StopAction(Enum):
    """What the migration does next."""

    CONTINUE = "continue"
    SWITCH_OVER = "switch over"


@dataclass(frozen=True, slots=True)
class StopDecision:
    """A decision with its reason, as data; the live side carries it out through QMP."""

    action: StopAction
    reason: str = ""
    predicted_downtime_s: float | None = None
