"""QEMU's auto-converge: throttle the vCPUs until the rounds shrink (`migration_trigger_throttle`, ram.c).

QEMU judges a bitmap reading at least a second after the last judged one: it is high if the dirtied
bytes are above 50 % of the sent bytes. Every second high reading throttles, first by 20 %, later by
10 % more each, up to 99 %. The two need not follow each other: a low reading does not reset QEMU's count.

Live: QEMU's own feature, without the relay, because only QEMU can throttle its guest:
`pagethrift migrate --plain --auto-converge`. Simulated: the simulator slows the guest's writes down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.base import AlwaysAllow, HoldNothing, Signing, Status, Strategy
from pagethrift.strategies.stop.rules import CONTINUE, PendingFits

REFUSAL = "auto-converge is QEMU's own, outside the relay; use --plain --auto-converge"


@dataclass(slots=True)
class AutoConverge:
    """QEMU's rule, and more throttle while the guest dirties too much compared with what is sent."""

    initial: float = 20
    """cpu-throttle-initial, percent"""
    increment: float = 10
    """cpu-throttle-increment, percent"""
    maximum: float = 99
    """max-cpu-throttle, percent"""
    threshold: float = 50
    """throttle-trigger-threshold, percent of the bytes sent"""
    window_s: float = 1.0
    _round: int = field(default=0, init=False, compare=False, repr=False)
    _since_s: float = field(default=0.0, init=False, compare=False, repr=False)
    _dirty_pages: int = field(default=0, init=False, compare=False, repr=False)
    _sent_bytes: int = field(default=0, init=False, compare=False, repr=False)
    _high: int = field(default=0, init=False, compare=False, repr=False)
    _percent: int = field(default=0, init=False, compare=False, repr=False)

    def decide(self, facts: StopFacts) -> StopDecision:
        """Stop by QEMU's rule; judge each new bitmap reading (round) once."""
        decision = PendingFits().decide(facts)
        if decision.action is StopAction.SWITCH_OVER or facts.round <= self._round:
            return decision
        self._dirty_pages += sum(facts.round_dirty_pages[self._round + 1 : facts.round + 1])
        self._sent_bytes += sum(facts.round_sent_bytes[self._round : facts.round])
        self._round = facts.round
        if facts.round_began_s <= self._since_s + self.window_s:
            return CONTINUE
        high = self._dirty_pages * PAGE_BYTES > self.threshold / 100 * self._sent_bytes
        self._since_s, self._dirty_pages, self._sent_bytes = facts.round_began_s, 0, 0
        self._high += high
        if self._high < 2 or self._percent >= self.maximum:
            return CONTINUE
        self._high = 0
        step = self.increment if self._percent else self.initial
        self._percent = int(min(self.maximum, self._percent + step))
        reason = f"dirtied more than {self.threshold:g} % of what was sent, twice"
        return StopDecision(StopAction.SET_THROTTLE, reason, throttle_percent=self._percent)


def kvm_auto_converge(
    initial: float = 20, increment: float = 10, maximum: float = 99, threshold: float = 50
) -> Strategy:
    """Return the row; the parameters are AutoConverge's, all in percent."""
    return Strategy(
        name="kvm-auto-converge",
        summary="every page in full; throttle the guest until it converges",
        source="QEMU migration/ram.c, cpu-throttle.c",
        status=Status.EXACT,
        signing=Signing.NOTHING,
        hold=HoldNothing(),
        encode=AlwaysAllow(Allow.NOTHING),
        stop=AutoConverge(initial, increment, maximum, threshold),
        qemu_decides=True,
        parameters={"initial": initial, "increment": increment, "maximum": maximum, "threshold": threshold},
        refuses_live=f"strategy kvm-auto-converge: {REFUSAL}",
    )
