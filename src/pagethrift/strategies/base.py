"""A strategy: three independent answers, hold + encode + stop.

The engine asks for whole batches. Answers are only permissions and wishes: the engine
refuses what would be wrong (skipping an unequal page, a delta without a known base,
holding beyond the budget), so a strategy can be slow but cannot corrupt the guest.

A strategy object serves one migration: an answer may remember earlier facts.
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
    """What the ledger remembers about a page."""

    NOTHING = "nothing"
    SUBPAGES = "subpages"
    """keyed 64-bit signatures of 256-byte subpages"""
    SHA256 = "sha256"


class Status(StrEnum):
    """How closely a row follows its source."""

    EXACT = "exact"
    """as read in the system's source code or paper"""
    RECONSTRUCTED = "reconstructed"
    """the listing was not available: our reading of what is published"""
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class PageFacts:
    """Facts about the pages of one batch, as arrays of one length."""

    now_s: float
    round: int
    """rounds begun so far, as far as the engine knows; 0 = first pass"""
    pages: I64
    masks: U32
    """a bit for each changed subpage; all ones if unknown"""
    first: Bools
    """the page was never forwarded"""
    arrivals: U8
    """how often the page arrived before, saturating at 255"""
    sizes: I32
    """bytes on the link if the page were forwarded now; known to ``hold``, not to ``allow``"""
    held_pages: int
    hold_budget_pages: int
    held_bytes: int = 0
    """bytes on the link if every held page were forwarded now"""
    held_sizes: I32 | None = None
    """the part of ``held_bytes`` for each page's older version; None: no page of the batch is held"""
    link_bps: float = 0.0
    """bytes per second, 0 while unknown"""
    downtime_limit_s: float = 0.0
    history: U8 | None = None
    """rounds in which the page arrived changed: bit 0 = this one, bit 7 = seven ago (``needs_history``)"""
    last: bool = False
    """the switchover is decided"""
    dirty_again: Bools | None = None
    """simulator: written again since the bitmap was read; a relay cannot look at QEMU's bitmap"""
    watched: U8 | None = None
    """simulator: how often written in the window before round 0 (``Simulated.watch_s``)"""
    as_defined: bool = False
    """simulator: hold as the row's source defines it, without the relay's bounds on memory and downtime"""


@dataclass(frozen=True, slots=True)
class HeldFacts:
    """Facts about the held pages, as arrays of one length."""

    now_s: float
    round: int
    pages: I64
    since_s: npt.NDArray[np.float64]
    """when the newest content arrived"""
    since_round: I64
    arrivals: U8
    sizes: I32 | None = None
    """estimated bytes of each on the link, from when it came in"""
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
    """By which methods a page may travel."""

    def allow(self, facts: PageFacts) -> Allow | U8:
        """Return the allowed methods, one value for all pages of a batch or one for each."""


class StopRule(Protocol):
    """When to switch over."""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the decision for these facts."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a row needs from a simulator besides its three answers; the relay cannot provide it."""

    peeks: bool = False
    """fill ``dirty_again``; pages are looked at in batches of 1024 just before they are sent"""
    watch_s: float = 0.0
    """watch the guest for this long before round 0 and fill ``watched``"""
    leaves_out: frozenset[PageClass] = frozenset()
    """never send pages of these classes"""
    skips_seen: bool = False
    """Allow.SKIP skips a content forwarded in *any* earlier round; the pages that end stale are counted"""
    deduplicates: bool = False
    """a page (or subpage) that equals any page (or subpage) forwarded before travels as a reference"""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One row of the table, with its parameters filled in."""

    name: str
    summary: str
    source: str
    """the paper or program that it comes from"""
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
    """why the relay cannot run this row, and what to use instead; empty if it can"""
    live: str = ""
    """how the relay's analogue differs from the definition; empty if it does not"""
    simulated: Simulated = Simulated()
    stop_name: str = ""
    """name of the stop rule that replaced the row's own"""
    stop_parameters: dict[str, float] = field(default_factory=dict)

    @property
    def compresses(self) -> bool:
        """Whether pages may travel compressed, where the destination takes compressed channels."""
        return isinstance(self.encode, AlwaysAllow) and Allow.CHANNEL in self.encode.methods


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
    """Gives every page the same permission."""

    methods: Allow

    def allow(self, facts: PageFacts) -> Allow:
        """Return the permission."""
        return self.methods
