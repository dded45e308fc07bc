"""A strategy: three independent answers, hold + encode + stop.

Answers are asked for whole batches and are only ever permissions and wishes: the
engine refuses what would be wrong (skipping an unequal page, a delta without a known
base, holding beyond the budget), so a strategy can be slow but cannot corrupt.

A strategy object serves one migration: an answer may remember what it was told before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pagethrift.model.facts import PageClass, StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import I32, I64, U8, U32, Bools


class Signing(StrEnum):
    """What the ledger remembers of a page."""

    NOTHING = "nothing"
    SUBPAGES = "subpages"
    """keyed 64-bit signatures of 256-byte subpages"""
    SHA256 = "sha256"


class Status(StrEnum):
    """How sure we are that a row is what its source describes."""

    EXACT = "exact"
    """read in the system's source or paper"""
    RECONSTRUCTED = "reconstructed"
    """the listing was not available: our reading of what is published about it"""
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What is known of the pages of one batch, as arrays of one length."""

    now_s: float
    round: int
    """rounds begun so far as far as the engine was told; 0 = first pass"""
    pages: I64
    masks: U32
    """a bit for each changed subpage; all ones if unknown"""
    first: Bools
    """the page was never forwarded"""
    arrivals: U8
    """how often the page arrived before, saturating at 255"""
    sizes: I32
    """bytes the page would put on the link if forwarded now; known to ``hold``, not to ``allow``"""
    held_pages: int
    hold_budget_pages: int
    held_bytes: int = 0
    """what forwarding every held page now would put on the link"""
    held_sizes: I32 | None = None
    """bytes of ``held_bytes`` that stand for an older version of each page; None: none is held"""
    link_bps: float = 0.0
    """bytes per second, 0 while unknown"""
    downtime_limit_s: float = 0.0
    history: U8 | None = None
    """rounds in which the page arrived changed: bit 0 = this one, bit 7 = seven ago (``needs_history``)"""
    last: bool = False
    """the switchover is decided"""
    dirty_again: Bools | None = None
    """simulator: written again since the bitmap was read; nobody outside QEMU can peek"""
    watched: U8 | None = None
    """simulator: how often written in the window before round 0 (``Simulated.watch_s``)"""
    as_defined: bool = False
    """simulator: hold as the source defines it, without the relay's bounds on memory and downtime"""


@dataclass(frozen=True, slots=True)
class HeldFacts:
    """What is held, as arrays of one length."""

    now_s: float
    round: int
    pages: I64
    since_s: npt.NDArray[np.float64]
    """when the newest content arrived"""
    since_round: I64
    arrivals: U8
    sizes: I32 | None = None
    """bytes each would put on the link, as estimated when it came in"""
    link_bps: float = 0.0
    downtime_limit_s: float = 0.0
    history: U8 | None = None
    """as in PageFacts, up to the present round"""
    dirty_again: Bools | None = None
    """simulator: written again since the newest content was taken"""
    as_defined: bool = False
    watched: U8 | None = None
    """as in PageFacts"""


class Hold(Protocol):
    """Which pages wait in the relay."""

    def hold(self, facts: PageFacts) -> Bools | None:
        """Return which pages of a batch to hold; None holds nothing."""

    def release(self, facts: HeldFacts) -> Bools | None:
        """Return which held pages to forward now; None keeps all. Asked at section ends."""


class Encode(Protocol):
    """How a page may travel."""

    def allow(self, facts: PageFacts) -> Allow | U8:
        """Return what is allowed, for all pages of a batch or for each."""


class StopRule(Protocol):
    """When to switch over."""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the decision for these facts."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a row asks of a simulator beyond its three answers; the relay has no such means."""

    peeks: bool = False
    """fill ``dirty_again``; pages are looked at in batches of 1024 just before they are sent"""
    watch_s: float = 0.0
    """watch the guest for this long before round 0 and fill ``watched``"""
    leaves_out: frozenset[PageClass] = frozenset()
    """never send pages of these classes"""
    skips_seen: bool = False
    """Allow.SKIP skips a content forwarded in *any* earlier round; count the pages that end stale"""
    deduplicates: bool = False
    """a page (or subpage) equal to one forwarded before, of any page, travels as a reference"""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One row of the table, with its parameters filled in."""

    name: str
    summary: str
    source: str
    """paper or program it comes from"""
    status: Status
    signing: Signing
    hold: Hold
    encode: Encode
    stop: StopRule
    qemu_decides: bool = False
    """live: QEMU switches over by its own downtime limit"""
    parameters: dict[str, float] = field(default_factory=dict)
    needs_history: bool = False
    """fill ``history``: one byte a page in the engine"""
    refuses_live: str = ""
    """why the relay cannot run it, and what to use instead; empty: it can"""
    live: str = ""
    """how the relay's analogue differs from the definition; empty: it does not"""
    simulated: Simulated = Simulated()
    stop_name: str = ""
    """the stop rule that replaced the row's own"""
    stop_parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HoldNothing:
    """Forward every page when it arrives."""

    def hold(self, facts: PageFacts) -> None:
        """Hold nothing."""
        return None

    def release(self, facts: HeldFacts) -> None:
        """Nothing is held."""
        return None


@dataclass(frozen=True, slots=True)
class AlwaysAllow:
    """The same permission for every page."""

    methods: Allow

    def allow(self, facts: PageFacts) -> Allow:
        """Return the permission."""
        return self.methods
