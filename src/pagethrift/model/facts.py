"""The facts that a stop rule decides on, and its possible decisions. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class PageClass(IntEnum):
    """What the guest's kernel uses a page for (its /proc/kpageflags)."""

    OTHER = 0
    """unknown, or another use: drivers, tmpfs, files that are mapped or not yet written back"""
    FREE = 1
    """free in the kernel's buddy allocator"""
    CACHE = 2
    """of a file, clean and not mapped: the pages that the guest's drop_caches would drop"""
    ANONYMOUS = 3
    """memory of processes"""
    KERNEL = 4
    """slab, page tables and pages that the kernel reserves"""


@dataclass(frozen=True, slots=True)
class StopFacts:
    """The state of a live or simulated migration at one instant."""

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
    """page records that arrived after a page's first, skipped ones included"""
    held_bytes: int
    """bytes on the link if every held page were released now"""
    unsent_bytes: int
    """bytes that the relay has made and that are not yet on the link"""
    link_bps: float
    """bytes per second, 0 while unknown"""
    downtime_limit_s: float
    compressor_pages_per_s: float = 0.0
    """where every page has to be compressed, how many can be in a second; 0: that is no limit, or unknown"""
    held_pages: int = 0
    """pages that wait in the relay; in a simulation also pages left for a later round"""
    waits_for_go: bool = False
    """an operator has not yet allowed that the guest is stopped, slowed down or moved"""


class StopAction(Enum):
    """What the migration does next."""

    CONTINUE = "continue"
    SWITCH_OVER = "switch over"
    SET_THROTTLE = "set throttle"
    """take ``throttle_percent`` of the guest's CPU time away from now on; the migration goes on"""
    START_POST_COPY = "start post-copy"
    """move the guest now; the destination asks for the pages it lacks"""


@dataclass(frozen=True, slots=True)
class StopDecision:
    """A decision with its reason, as data; the driver carries it out through QMP."""

    action: StopAction
    reason: str = ""
    predicted_downtime_s: float | None = None
    throttle_percent: int = 0
    """only with SET_THROTTLE"""
