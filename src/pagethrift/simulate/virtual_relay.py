"""The relay of a simulation: signs nothing and copies nothing, but decides and counts as the thinner does.

The twin of engine/thinner.py and engine/holding.py on content ids instead of bytes: the same questions
to the same strategy object, the same sizes. What QEMU does itself (XBZRLE, deduplication, skipping what
was seen in any round) enters as a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pagethrift.content.ledger import ALL_CHANGED
from pagethrift.content.signature import SUBPAGE_BYTES
from pagethrift.engine.counters import Counters
from pagethrift.engine.history import RoundHistory
from pagethrift.model.defaults import HOLD_BUDGET_BYTES
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32
from pagethrift.simulate.kernels import FETCHED, LOGGED, choose_costs, commit
from pagethrift.simulate.virtual_guest import Snapshot, VirtualGuest
from pagethrift.strategies.base import Bools, HeldFacts, PageFacts, Signing, Strategy


@dataclass(frozen=True, slots=True)
class Now:
    """The moment a batch is looked at."""

    now_s: float
    round: int
    link_bps: float
    downtime_limit_s: float
    last: bool
    """the switchover is decided"""


class Model(Protocol):
    """Changes what the writer would do with a batch."""

    def adjust(self, pages: Snapshot, state: U8, round_: int, methods: U8, sizes: I32) -> None:
        """Change methods and sizes in place."""

    def sent(self, pages: Snapshot, methods: U8) -> None:
        """Take note of what was forwarded."""


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
    ) -> None:
        n = guest.trace.pages
        self.strategy = strategy
        self.counters = Counters()
        self.content: I64 = np.full(n, -1, np.int64)
        """what the destination holds"""
        self.state: U8 = np.zeros(n, np.uint8)
        self._guest = guest
        self._bitmap = bitmap
        self._as_defined = as_defined
        self._models = models
        self._exact = exact_deltas
        self._budget_pages = n if as_defined else hold_budget_bytes // PAGE_BYTES
        self._watched = watched
        self._columns, self._subpage = _columns(strategy.signing)
        self._owed_mask: U32 = np.zeros(n, np.uint32)
        self._owed_delta: I32 = np.zeros(n, np.int32)
        self._arrivals: U8 = np.zeros(n, np.uint8)
        self._history = RoundHistory(n) if strategy.needs_history else None
        self._held: U8 = np.zeros(n, np.uint8)
        self._held_size: I32 = np.zeros(n, np.int32)
        self._held_content: I64 = np.zeros(n, np.int64)
        self._held_sparse = np.zeros(n, np.uint16)
        self._held_since_s = np.zeros(n)
        self._held_since_round: I64 = np.zeros(n, np.int64)
        self.held_pages = 0
        self.held_bytes = 0
        """what releasing everything now would put on the link"""

    @property
    def sent_bytes(self) -> int:
        """RAM bytes out."""
        return self.counters.first_round_bytes + self.counters.retransferred_bytes

    def thin(self, pages: Snapshot, now: Now) -> int:
        """Take in a batch that arrived; returns the bytes put on the link."""
        n = len(pages)
        before: U8 = np.zeros(n, np.uint8)
        self.counters.arrive(pages.page, self._arrivals, before)
        pages.mask |= self._owed_mask[pages.page]
        pages.delta += self._owed_delta[pages.page]
        return self._forward(pages, now, before, arriving=True)

    def release(self, now: Now, everything: bool) -> int:
        """Forward held pages the strategy wants out, or all; returns the bytes put on the link."""
        if not self.held_pages:
            return 0
        pages: I64 = np.flatnonzero(self._held)
        if not everything and not now.last:
            wish = self.strategy.hold.release(self._held_facts(pages, now))
            if wish is None:
                return 0
            pages = pages[np.asarray(wish, np.bool_)]
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
        self._drop(pages)
        return self._forward(batch, now, self._arrivals[pages], arriving=False)

    def stale_pages(self, left_out: U8) -> int:
        """Pages whose content at the destination is not the source's, those still left out apart."""
        guest = self._guest
        wrong = (self.content != guest.content) & (guest.content >= 0) & (left_out == 0)
        return int(np.count_nonzero(wrong))

    def _forward(self, pages: Snapshot, now: Now, before: U8, arriving: bool) -> int:
        n = len(pages)
        state = self.state[pages.page]
        masks = self._compared(pages, state)
        sizes: I32 = np.zeros(n, np.int32)
        methods: U8 = np.zeros(n, np.uint8)
        allowed: U8 = np.zeros(n, np.uint8)
        facts = self._facts(pages, masks, before, sizes, now, arriving)
        allowed[:] = self.strategy.encode.allow(facts)
        if self.strategy.signing is Signing.NOTHING and not self._exact:
            allowed &= ~np.uint8(Allow.SKIP | Allow.DELTA)
        choose_costs(
            pages.content, pages.sparse, masks, pages.delta, pages.page, self.state, allowed,
            self._subpage, self._columns, self._exact, methods, sizes,
        )  # fmt: skip
        for model in self._models:
            model.adjust(pages, state, now.round, methods, sizes)
        if arriving:
            self._hold(pages, facts, methods, sizes, now)
        self.counters.account(pages.page, methods, sizes, self.state)
        for model in self._models:
            model.sent(pages, methods)
        commit(
            pages.page, pages.content, methods, pages.mask, pages.delta,
            self.content, self.state, self._owed_mask, self._owed_delta,
        )  # fmt: skip
        return int(sizes.sum())

    def _compared(self, pages: Snapshot, state: U8) -> U32:
        """Return the masks a ledger would find; clears what turned out equal."""
        equal = (state != 0) & (self.content[pages.page] == pages.content)
        pages.mask[equal] = 0
        pages.delta[equal] = 0
        if self.strategy.signing is Signing.NOTHING:
            return np.full(len(pages), ALL_CHANGED, np.uint32)
        if not self._subpage and not self._exact:
            return np.where(equal, 0, ALL_CHANGED).astype(np.uint32)
        unsure = ~equal & (pages.mask == 0)
        pages.mask[unsure] = 0xFFFF
        return np.where(state == 0, np.uint32(ALL_CHANGED), pages.mask)

    def _facts(
        self, pages: Snapshot, masks: U32, before: U8, sizes: I32, now: Now, arriving: bool
    ) -> PageFacts:
        history: U8 | None = None
        if arriving and self._history:
            history = np.zeros(len(pages), np.uint8)
            self._history.mark(pages.page, masks, now.round, history)
        again = None
        if self.strategy.simulated.peeks and self._as_defined:
            again = (self._guest.log[pages.page] & (LOGGED | FETCHED)) == LOGGED
        return PageFacts(
            now_s=now.now_s,
            round=now.round,
            pages=pages.page,
            masks=masks,
            first=self.state[pages.page] == 0,
            arrivals=before,
            sizes=sizes,
            held_pages=self.held_pages,
            hold_budget_pages=self._budget_pages,
            held_bytes=self.held_bytes,
            held_sizes=self._held_size[pages.page] if self.held_pages else None,
            link_bps=now.link_bps,
            downtime_limit_s=now.downtime_limit_s,
            history=history,
            last=now.last,
            dirty_again=again,
            watched=self._watched[pages.page] if self._watched is not None else None,
            as_defined=self._as_defined,
        )

    def _held_facts(self, pages: I64, now: Now) -> HeldFacts:
        again = None
        if self._as_defined:
            again = (self._guest.log[pages] & LOGGED != 0) | (self._bitmap[pages] != 0)
        return HeldFacts(
            now.now_s, now.round, pages, self._held_since_s[pages], self._held_since_round[pages],
            self._arrivals[pages], self._held_size[pages], now.link_bps, now.downtime_limit_s,
            self._history.of(pages, now.round) if self._history else None, again, self._as_defined,
            self._watched[pages] if self._watched is not None else None,
        )  # fmt: skip

    def _hold(self, pages: Snapshot, facts: PageFacts, methods: U8, sizes: I32, now: Now) -> None:
        wish: Bools | None = None if now.last else self.strategy.hold.hold(facts)
        if wish is None:
            if self.held_pages:
                self._drop(pages.page)
            return
        chosen = np.asarray(wish, np.bool_) & (methods != Method.SKIP)
        self._drop(pages.page)
        index = np.flatnonzero(chosen)[: max(0, self._budget_pages - self.held_pages)]
        into = pages.page[index]
        self._held[into] = 1
        self._held_size[into] = sizes[index]
        self._held_content[into] = pages.content[index]
        self._held_sparse[into] = pages.sparse[index]
        self._held_since_s[into] = now.now_s
        self._held_since_round[into] = now.round
        self.held_pages += len(index)
        self.held_bytes += int(sizes[index].sum())
        methods[index] = Method.HOLD
        sizes[index] = 0

    def _drop(self, pages: I64) -> None:
        held = pages[self._held[pages] != 0]
        if len(held):
            self._held[held] = 0
            self.held_pages -= len(held)
            self.held_bytes -= int(self._held_size[held].sum())
            self._held_size[held] = 0


def _columns(signing: Signing) -> tuple[int, int]:
    """Return the ledger's columns and the bytes of a subpage (0: columns name no part of the page)."""
    match signing:
        case Signing.SUBPAGES:
            return PAGE_BYTES // SUBPAGE_BYTES, SUBPAGE_BYTES
        case Signing.SHA256:
            return 4, 0
        case Signing.NOTHING:
            return 0, 0
