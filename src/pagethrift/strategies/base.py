"""A strategy: three independent answers, hold + encode + stop.

Answers are asked for whole batches and are only ever permissions and wishes: the
engine refuses what would be wrong (skipping an unequal page, a delta without a known
base, holding beyond the budget), so a strategy can be slow but cannot corrupt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import I32, I64, U8, U32


class Signing(StrEnum):
    """What the ledger remembers of a page."""

    NOTHING = "nothing"
    SUBPAGES = "subpages"
    """keyed 64-bit signatures of 256-byte subpages"""
    SHA256 = "sha256"


class Status(StrEnum):
    """How sure we are that a row is what its source describes."""

    EXACT = "exact"
    RECONSTRUCTED = "reconstructed"
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
    first: npt.NDArray[np.bool_]
    """the page was never forwarded"""
    arrivals: U8
    """how often the page arrived before, saturating at 255"""
    sizes: I32
    """bytes the page would put on the link if forwarded now"""
    held_pages: int
    hold_budget_pages: int


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


class Hold(Protocol):
    """Which pages wait in the relay."""

    def hold(self, facts: PageFacts) -> npt.NDArray[np.bool_] | None:
        """Return which pages of a batch to hold; None holds nothing."""

    def release(self, facts: HeldFacts) -> npt.NDArray[np.bool_] | None:
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
