"""Lin, Huang and Jian, "Optimizing Memory Pre-copy with a Second Chance Strategy", ICCM 2012.

Reconstructed: in phase 1 a page that was dirty in round i - 1 gets a second chance: it is sent in
round i only if it stays quiet in that round. Phase 2 is plain pre-copy. The phase changes when the
backlog has not shrunk for two rounds or fits the downtime, so that the last round carries no more than
that of plain pre-copy. The backlog is the number of held pages. Simulated, a held page counts as quiet
when it is not dirty again at the end of a section of RAM (a round in which everything is held takes no
longer).

Live: a page that arrives after round 0 is held until it does not arrive again for a whole round. Held
pages may fill only a share of the downtime limit, so the second condition of the change never applies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pagethrift.model.methods import Allow
from pagethrift.model.pages import Bools
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, PageFacts, Signing, Status, Strategy
from pagethrift.strategies.holds import fitting, overflowing, quiet
from pagethrift.strategies.stop.rules import PendingFits


@dataclass(slots=True)
class SecondChance:
    """Hold every page for a round, in the first of two phases."""

    stalled: float = 2
    """rounds without a smaller backlog that end phase 1"""
    share: float = 1.0
    """share of the downtime limit that held pages may fill"""
    _plain: bool = field(default=False, init=False, compare=False, repr=False)
    """whether phase 2 has begun"""
    _round: int = field(default=0, init=False, compare=False, repr=False)
    _backlog: int = field(default=0, init=False, compare=False, repr=False)
    """most pages held in this round"""
    _before: int | None = field(default=None, init=False, compare=False, repr=False)
    """most pages held in the round before"""
    _stalls: int = field(default=0, init=False, compare=False, repr=False)

    def hold(self, facts: PageFacts) -> Bools | None:
        """In phase 1, hold every page that arrives after round 0."""
        self._look(facts.round, facts.held_pages)
        room_bytes = facts.downtime_limit_s * facts.link_bps
        if facts.as_defined and facts.round >= 2 and facts.held_bytes <= room_bytes:
            self._plain = True
        if facts.last or self._plain or facts.round < 1:
            return None
        return fitting(np.ones(len(facts.pages), np.bool_), facts, self.share)

    def release(self, facts: HeldFacts) -> Bools | None:
        """Release the pages that stayed quiet, and in phase 2 every page."""
        self._look(facts.round, len(facts.pages))
        if self._plain:
            return np.ones(len(facts.pages), np.bool_)
        if facts.dirty_again is not None:
            return ~facts.dirty_again
        return quiet(facts) | overflowing(facts, self.share)

    def _look(self, round_: int, held: int) -> None:
        if round_ > self._round:
            if self._before is not None:
                self._stalls = self._stalls + 1 if self._backlog >= self._before else 0
                self._plain = self._plain or self._stalls >= self.stalled
            self._before = self._backlog if self._round >= 1 else None
            self._round, self._backlog = round_, 0
        self._backlog = max(self._backlog, held)


def lin(stalled: float = 2, share: float = 1.0) -> Strategy:
    """Return the row; both parameters are SecondChance's."""
    return Strategy(
        name="lin",
        summary="a dirty page waits until it is quiet for a round, then plain pre-copy",
        source="Lin, Huang, Jian, ICCM 2012",
        status=Status.RECONSTRUCTED,
        signing=Signing.NOTHING,
        hold=SecondChance(stalled, share),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=PendingFits(),
        parameters={"stalled": stalled, "share": share},
        live="held pages are bounded by a share of the downtime limit",
    )
