"""The relay of a simulation: content ids instead of bytes, the same decisions.

The engine's own `Decisions` decides on pages. What the relay does not do (deduplication, skipping what was
seen in any round) is added as a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pagethrift.content.ledger import ALL_CHANGED, State
from pagethrift.content.signature import SUBPAGE_BYTES
from pagethrift.engine.counters import Counters
from pagethrift.engine.decisions import Decisions, Moment
from pagethrift.engine.held import HeldPages
from pagethrift.engine.lanes import Lanes
from pagethrift.engine.rounds import Totals
from pagethrift.model.channels import ChannelSettings
from pagethrift.model.defaults import HOLD_BUDGET_BYTES
from pagethrift.model.methods import Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32, Bools
from pagethrift.simulator.kernels import FETCHED, LOGGED, commit, payloads_of_trace
from pagethrift.simulator.simulate_options import FAR_SHARE, NEAR_SHARE
from pagethrift.simulator.virtual_channels import VirtualChannels
from pagethrift.simulator.virtual_guest import Snapshot, VirtualGuest
from pagethrift.strategies.base import Signing, Strategy


class Model(Protocol):
    """Changes the choices for a batch."""

    def adjust(self, pages: Snapshot, state: U8, round_: int, methods: U8, sizes: I32) -> None:
        """Change methods and sizes in place."""

    def sent(self, pages: Snapshot, methods: U8) -> None:
        """Record the pages that were forwarded."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a snapshot, as far as a choice needs them."""

    pages: Snapshot
    state: U8
    masks: U32
    subpage_bytes: int
    exact: bool
    models: tuple[Model, ...]
    round: int

    def measure(self, allowed: U8, payloads: I32) -> None:
        pages = self.pages
        payloads_of_trace(
            pages.content, pages.sparse, self.masks, pages.delta, pages.page, self.state,
            self.subpage_bytes, self.exact, payloads,
        )  # fmt: skip

    def adjust(self, methods: U8, sizes: I32) -> None:
        for model in self.models:
            model.adjust(self.pages, self.state[self.pages.page], self.round, methods, sizes)


@dataclass(frozen=True, slots=True)
class _Foresight:
    """Facts for a strategy about a guest whose memory can be inspected."""

    guest: VirtualGuest
    bitmap: U8
    as_defined: bool
    peeks: bool
    watched_writes: U8 | None

    def dirty_again(self, pages: I64, held: bool) -> Bools | None:
        if not self.as_defined:
            return None
        log = self.guest.log[pages]
        if held:
            again: Bools = (log & LOGGED != 0) | (self.bitmap[pages] != 0)
            return again
        return (log & (LOGGED | FETCHED)) == LOGGED if self.peeks else None

    def watched(self, pages: I64) -> U8 | None:
        return None if self.watched_writes is None else self.watched_writes[pages]


class VirtualRelay:
    """Forwards, skips and holds the pages of one migration."""

    def __init__(
        self,
        strategy: Strategy,
        guest: VirtualGuest,
        bitmap: U8,
        as_defined: bool,
        models: tuple[Model, ...] = (),
        exact_deltas: bool = False,
        hold_budget_bytes: int = HOLD_BUDGET_BYTES,
        watched: U8 | None = None,
        channels: ChannelSettings | None = None,
        far_share: float = FAR_SHARE,
        near_share: float = NEAR_SHARE,
        scale: float = 1.0,
    ) -> None:
        """``channels``: for compressed pages; shares and scale are those that VirtualChannels takes."""
        n = guest.trace.pages
        self.strategy = strategy
        self.counters = Counters()
        self.content: I64 = np.full(n, -1, np.int64)
        """what the destination holds"""
        self.state: U8 = np.zeros(n, np.uint8)
        """the ledger's states"""
        self.held = HeldPages(n, n if as_defined else hold_budget_bytes // PAGE_BYTES)
        self._guest = guest
        self._as_defined = as_defined
        self._models = models
        self._exact = exact_deltas
        self._signing = strategy.signing
        self._subpage_bytes = SUBPAGE_BYTES if strategy.signing is Signing.SUBPAGES else 0
        lanes = Lanes(channels, n, self._subpage_bytes) if channels else None
        self.channels: VirtualChannels | None = None
        if channels and lanes:
            self.channels = VirtualChannels(
                channels, guest.trace, lanes, self.counters, far_share, near_share, scale
            )
        self._decisions = Decisions(
            strategy, self.state, self.held, self.counters,
            knows_contents=exact_deltas or strategy.signing is not Signing.NOTHING,
            insight=_Foresight(guest, bitmap, as_defined, strategy.simulated.peeks, watched), lanes=lanes,
        )  # fmt: skip
        self._owed_mask: U32 = np.zeros(n, np.uint32)
        self._owed_delta: I32 = np.zeros(n, np.int32)
        self._held_content: I64 = np.zeros(n, np.int64)
        self._held_sparse = np.zeros(n, np.uint16)

    @property
    def totals(self) -> Totals:
        """The counts so far."""
        return Totals(self.counters.ram_bytes, self.counters.pages, len(self.held))

    @property
    def sent_bytes(self) -> int:
        """RAM bytes sent."""
        return self.counters.ram_bytes

    def thin(self, pages: Snapshot, moment: Moment) -> int:
        """Process a batch that arrived; return the bytes for main. ``channels.take_jobs`` has the others."""
        pages.mask |= self._owed_mask[pages.page]
        pages.delta += self._owed_delta[pages.page]
        return self._forward(pages, moment, arriving=True)

    def release(self, moment: Moment, everything: bool) -> int:
        """Forward the held pages that the strategy releases, or all; return the bytes for main."""
        pages = self.held.page_in[self._decisions.to_release(moment, everything)]
        if not len(pages):
            return 0
        guest = self._guest
        if self._as_defined:
            content, sparse = guest.content[pages], guest.sparse[pages]
            mask = self._owed_mask[pages] | guest.since_mask[pages]
            delta = self._owed_delta[pages] + guest.since_delta[pages]
            guest.since_mask[pages] = 0
            guest.since_delta[pages] = 0
        else:
            content, sparse = self._held_content[pages], self._held_sparse[pages]
            mask, delta = self._owed_mask[pages], self._owed_delta[pages]
        batch = Snapshot(pages, content, sparse, mask, delta, np.zeros(len(pages)))
        sent_bytes = self._forward(batch, moment, arriving=False)
        self.held.drop(pages)
        return sent_bytes

    def stale_pages(self, left_out: U8) -> int:
        """Return how many pages differ between destination and source, without those still left out."""
        guest = self._guest
        wrong = (self.content != guest.content) & (guest.content >= 0) & (left_out == 0)
        return int(np.count_nonzero(wrong))

    def _forward(self, pages: Snapshot, moment: Moment, arriving: bool) -> int:
        masks = self._compared(pages, self.state[pages.page])
        contents = _Contents(
            pages, self.state, masks, self._subpage_bytes, self._exact, self._models, moment.round
        )
        methods, sizes = self._decisions.decide(pages.page, masks, contents, moment, arriving)
        waits = np.flatnonzero(methods == Method.HOLD)
        if len(waits):
            self._held_content[pages.page[waits]] = pages.content[waits]
            self._held_sparse[pages.page[waits]] = pages.sparse[waits]
            sizes[waits] = 0
        if self.channels:
            self.channels.add(pages, methods, sizes)
        self.counters.account(pages.page, methods, sizes, self.state)
        for model in self._models:
            model.sent(pages, methods)
        commit(
            pages.page, pages.content, methods, pages.mask, pages.delta,
            self.content, self.state, self._owed_mask, self._owed_delta,
        )  # fmt: skip
        return int(sizes.sum() if self.channels is None else sizes[methods != Method.CHANNEL].sum())

    def _compared(self, pages: Snapshot, state: U8) -> U32:
        """Return the masks that a ledger would find; clear the masks of equal pages."""
        equal = (state != State.NEVER) & (self.content[pages.page] == pages.content)
        pages.mask[equal] = 0
        pages.delta[equal] = 0
        if self._signing is Signing.NOTHING:
            return np.full(len(pages), ALL_CHANGED, np.uint32)
        if not self._subpage_bytes and not self._exact:
            return np.where(equal, 0, ALL_CHANGED).astype(np.uint32)
        unsure = ~equal & (pages.mask == 0)
        pages.mask[unsure] = 0xFFFF
        return np.where(state == State.NEVER, np.uint32(ALL_CHANGED), pages.mask)
