"""Decisions on pages: the strategy's permissions and wishes, and the choice of the fewest bytes.

The engine and the simulator ask the same object. They differ in what they know of contents (``Contents``)
and in what a simulator can foresee (``Insight``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pagethrift.content.ledger import State
from pagethrift.engine.choice import Payload, choose_methods
from pagethrift.engine.counters import Counters
from pagethrift.engine.held import HeldPages
from pagethrift.engine.history import RoundHistory
from pagethrift.engine.lanes import Lanes
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, U8, U32, Bools, read_only
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, HoldNothing, PageFacts, Strategy

FORWARDED = np.array([state in (State.KNOWN, State.ZERO, State.UNSEEN) for state in State], np.bool_)
"""by a page's state in the ledger, whether something of it was forwarded"""


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a decision, and the state of the migration at that time."""

    now_s: float
    round: int
    link_bps: float
    """bytes per second, 0 while unknown"""
    downtime_limit_s: float
    going: bool
    """the switchover is decided: nothing more is held, everything is released"""


class Contents(Protocol):
    """The contents of a batch, as far as a choice needs them."""

    def measure(self, allowed: U8, payloads: I32) -> None:
        """Write the bytes of each page's payloads, as ``engine.choice.measure_payloads`` does.

        ``payloads`` has the shape (pages, len(Payload)).
        """

    def adjust(self, methods: U8, sizes: I32) -> None:
        """Change the choices in place, where a page has no choice, or a system methods that QEMU lacks."""


class Insight(Protocol):
    """Facts that only a simulator can tell a strategy; PageFacts and HeldFacts explain them."""

    @property
    def as_defined(self) -> bool:
        """Hold as the strategy's source defines it."""

    def dirty_again(self, pages: I64, held: bool) -> Bools | None:
        """Return which pages were written since the bitmap was read (``held``: since they were taken)."""

    def watched(self, pages: I64) -> U8 | None:
        """Return how often pages were written before round 0."""


class Decisions:
    """Decides for one migration; the returned arrays are valid until the next call."""

    def __init__(
        self,
        strategy: Strategy,
        state: U8,
        held: HeldPages,
        counters: Counters,
        knows_contents: bool = True,
        insight: Insight | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        """Decide on pages whose ledger states are ``state``, shape (pages,).

        ``knows_contents`` False: what the destination holds is unknown, so nothing is skipped or sent as
        a delta. ``lanes`` None: the destination takes no compressed channels.
        """
        self.held = held
        self._strategy = strategy
        self._state = state
        self._counters = counters
        forbidden = Allow.NOTHING if knows_contents else Allow.SKIP | Allow.DELTA
        forbidden |= Allow.NOTHING if lanes else Allow.CHANNEL
        # the engine's own bits as well, whatever a strategy answers
        self._forbidden = np.uint8(forbidden | 0xFF & ~sum(Allow))
        self._lanes = lanes
        # what is the same for every batch needs no facts, which cost 5 us a batch
        encode = strategy.encode
        self._always_allows = encode.methods if isinstance(encode, AlwaysAllow) else None
        self._may_hold = not isinstance(strategy.hold, HoldNothing)
        self._insight = insight
        self._arrivals: U8 = np.zeros(len(state), np.uint8)
        self._history = RoundHistory(len(state)) if strategy.needs_history else None
        self._take_room(0)

    def _take_room(self, pages: int) -> None:
        self._allowed: U8 = np.full(pages, self._always_allows or Allow.NOTHING, np.uint8) & ~self._forbidden
        self._methods: U8 = np.zeros(pages, np.uint8)
        self._before: U8 = np.zeros(pages, np.uint8)
        self._first: U8 = np.zeros(pages, np.uint8)
        self._recent: U8 = np.zeros(pages, np.uint8)
        self._sizes: I32 = np.zeros(pages, np.int32)
        self._payloads: I32 = np.zeros((pages, len(Payload)), np.int32)

    def decide(
        self, pages: I64, masks: U32, contents: Contents, moment: Moment, arriving: bool
    ) -> tuple[U8, I32]:
        """Return the method of each page of a batch and its estimated bytes on the link.

        ``masks``: from the ledger. ``arriving`` False: the pages were held and are forwarded now.
        """
        n = len(pages)
        if n > len(self._allowed):
            self._take_room(n)
        allowed, methods, sizes = self._allowed[:n], self._methods[:n], self._sizes[:n]
        payloads = self._payloads[:n]
        recent = None
        if arriving:
            self._counters.arrive(pages, self._state, self._arrivals, self._before[:n], self._first[:n])
            if self._history:
                recent = self._recent[:n]
                self._history.mark(pages, masks, moment.round, recent)
        else:
            self._before[:n] = self._arrivals[pages]
            self._first[:n] = ~FORWARDED[self._state[pages]]
        may_hold = arriving and self._may_hold and not moment.going
        facts = None
        if may_hold or self._always_allows is None:
            facts = self._page_facts(pages, masks, sizes, recent, moment)
        if facts is not None and self._always_allows is None:
            sizes[:] = 0
            allowed[:] = self._strategy.encode.allow(facts)
            allowed &= ~self._forbidden
        if self._lanes:
            if self._always_allows is not None:
                allowed[:] = np.uint8(self._always_allows) & ~self._forbidden
            self._lanes.restrict(pages, allowed)
        contents.measure(allowed, payloads)
        if self._lanes:
            self._lanes.measure(pages, masks, allowed, payloads)
        choose_methods(pages, self._state, masks, allowed, payloads, methods, sizes)
        contents.adjust(methods, sizes)
        if arriving:
            wish = self._strategy.hold.hold(facts) if facts is not None and may_hold else None
            self._hold(pages, wish, moment, methods, sizes)
        return methods, sizes

    def to_release(self, moment: Moment, everything: bool) -> I64:
        """Return the slots of held pages that are to be forwarded now."""
        held = self.held
        slots = held.used()
        if everything or moment.going or not len(slots):
            return slots
        pages, insight = held.page_in[slots], self._insight
        wish = self._strategy.hold.release(
            HeldFacts(
                now_s=moment.now_s,
                round=moment.round,
                pages=pages,
                since_s=held.since_s[slots],
                since_round=held.since_round[slots],
                arrivals=self._arrivals[pages],
                sizes=held.size[slots],
                link_bps=moment.link_bps,
                downtime_limit_s=moment.downtime_limit_s,
                history=self._history.of(pages, moment.round) if self._history else None,
                dirty_again=insight.dirty_again(pages, held=True) if insight else None,
                as_defined=insight.as_defined if insight else False,
                watched=insight.watched(pages) if insight else None,
            )
        )
        return slots[:0] if wish is None else slots[np.asarray(wish, np.bool_)]

    def _page_facts(self, pages: I64, masks: U32, sizes: I32, recent: U8 | None, moment: Moment) -> PageFacts:
        held, insight, n = self.held, self._insight, len(pages)
        return PageFacts(
            now_s=moment.now_s,
            round=moment.round,
            pages=read_only(pages),
            masks=read_only(masks),
            first=self._first[:n].view(np.bool_),
            arrivals=read_only(self._before[:n]),
            sizes=read_only(sizes),
            held_pages=len(held),
            hold_budget_pages=held.budget_pages,
            held_bytes=held.held_bytes,
            held_sizes=held.sizes_of(pages) if len(held) else None,
            link_bps=moment.link_bps,
            downtime_limit_s=moment.downtime_limit_s,
            history=recent,
            last=moment.going,
            dirty_again=insight.dirty_again(pages, held=False) if insight else None,
            watched=insight.watched(pages) if insight else None,
            as_defined=insight.as_defined if insight else False,
        )

    def _hold(self, pages: I64, wish: Bools | None, moment: Moment, methods: U8, sizes: I32) -> None:
        """Mark pages that wait as HOLD; a newer content replaces an older one, or cancels it."""
        held = self.held
        if wish is None:
            if len(held):
                held.drop(pages)
            return
        # a delta of the source's is worth nothing but in its place in the stream
        wish = np.asarray(wish, np.bool_) & (methods != Method.SKIP) & (methods != Method.SOURCE_DELTA)
        held.drop(pages[~wish])
        chosen = np.flatnonzero(wish)
        kept = held.take(pages[chosen], sizes[chosen], moment.now_s, moment.round)
        methods[chosen[kept]] = Method.HOLD
