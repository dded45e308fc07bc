"""KubeVirt's stall detection (virt-launcher, live-migration-source.go, feature MigrationStallDetection).

The rule looks at each round's backlog at its beginning. The migration is stalled when no round is
``margin`` better than the best of the rounds older than ``window_s``. Once stalled, a round is accepted
if it is within ``margin`` of the mark, which is the best backlog ever seen. The mark is relaxed to the
next best backlog since the stall, first after ``window_s``, and each further time twice as soon. Before a
stall QEMU's own rule may end the migration. At an accepted round KubeVirt raises the downtime limit to
what the mark implies, aborts, or forces, as its operator allows; this rule switches over.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.stop.rules import PendingFits, switch_over

SHORTEST_PATIENCE_S = 1.0


@dataclass(slots=True)
class KubeVirtStall:
    """Accept the best backlog so far once the rounds have stopped improving."""

    window_s: float = 40
    """KubeVirt's progress timeout"""
    margin: float = 0.04
    """share by which two backlogs may differ and count as equal"""
    _round: int = field(default=0, init=False, compare=False, repr=False)
    _seen: list[tuple[float, int]] = field(default_factory=list, init=False, compare=False, repr=False)
    """(seconds, pages) of every round's beginning"""
    _best: int | None = field(default=None, init=False, compare=False, repr=False)
    """the mark, in pages; None before the stall"""
    _since_stall: list[int] = field(default_factory=list, init=False, compare=False, repr=False)
    _patience_s: float = field(default=0.0, init=False, compare=False, repr=False)
    _relax_at_s: float = field(default=0.0, init=False, compare=False, repr=False)

    def decide(self, facts: StopFacts) -> StopDecision:
        """Decide on a round's backlog once, at its beginning."""
        decision = PendingFits().decide(facts)
        if facts.round <= self._round or not facts.round_dirty_pages:
            return decision
        self._round = facts.round
        backlog = facts.round_dirty_pages[-1]
        self._look(facts.now_s, backlog)
        if self._best is None or backlog > self._best * (1 + self.margin):
            return decision
        mebibytes = self._best * PAGE_BYTES / (1 << 20)
        return switch_over(facts, f"stalled; the backlog is as small as the best, {mebibytes:.1f} MiB")

    def _look(self, now_s: float, backlog: int) -> None:
        if self._best is None:
            older = [pages for at_s, pages in self._seen if now_s - at_s >= self.window_s]
            self._seen.append((now_s, backlog))
            if not older or backlog < min(older) * (1 - self.margin):
                return
            self._best = min(pages for _, pages in self._seen)
            self._patience_s = max(self.window_s, SHORTEST_PATIENCE_S)
            self._relax_at_s = now_s + self._patience_s
        heapq.heappush(self._since_stall, backlog)
        if now_s >= self._relax_at_s:
            self._best = heapq.heappop(self._since_stall)
            self._patience_s = max(self._patience_s / 2, SHORTEST_PATIENCE_S)
            self._relax_at_s = now_s + self._patience_s
