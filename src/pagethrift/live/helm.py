"""What every driver of a running migration does alike, over QMP or over libvirt.

It tells the relay of rounds, asks the planner with facts that are fresh, and shows the progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, assert_never

from pagethrift.errors import UsageError
from pagethrift.live.convergence import Convergence
from pagethrift.live.crowding import Crowding
from pagethrift.live.relay_process import RelayProcess
from pagethrift.live.said import said
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.facts import StopAction, StopDecision, StopFacts

REPORT_S = 0.1


class Decider(Protocol):
    """What decides the switchover: `pagethrift.engine.planner.Planner`, or a test's own."""

    def decide(self, facts: StopFacts) -> StopDecision:
        """Return the next action for the facts."""
        ...


class Helm:
    """Stands between one migration's observations and who acts on them; it sends nothing to QEMU."""

    def __init__(
        self,
        watch: Watch,
        relay: RelayProcess | None,
        decider: Decider | None,
        report: Callable[[Progress], None],
        warnings: list[str],
    ) -> None:
        """Without ``relay`` QEMU goes straight to the destination; without ``decider`` QEMU decides."""
        self.convergence = Convergence()
        self.crowding = Crowding()
        self._watch = watch
        self._relay = relay
        self._decider = decider
        self._report = report
        self._warnings = warnings
        self._told_round = 0
        self._reported_s = 0.0

    def tell_rounds(self) -> None:
        """Tell the relay of every round that has begun since the last call."""
        while self._relay is not None and self._told_round < self._watch.round:
            self._told_round += 1
            self._relay.tell_round(self._told_round)

    async def decide(self, now_s: float) -> StopDecision | None:
        """Ask the planner; return the decision to switch over, None: not yet.

        Raises UsageError for a decision that cannot be carried out live.
        """
        facts = self._watch.facts(now_s)
        if facts is None or self._decider is None:
            return None
        decision = self._decider.decide(facts)
        if decision.action is StopAction.SWITCH_OVER and self._relay is not None:
            # The relay's last report may be 0.1 s old, and its buffer takes 0.1 s of link.
            await self._relay.refresh()
            facts = self._watch.facts(time.monotonic()) or facts
            decision = self._decider.decide(facts)
        self._watch.decision = decision
        self.convergence.look(facts.round, decision.predicted_downtime_s, facts.downtime_limit_s)
        match decision.action:
            case StopAction.SWITCH_OVER:
                return decision
            case StopAction.CONTINUE:
                return None
            case StopAction.SET_THROTTLE | StopAction.START_POST_COPY:
                raise UsageError(
                    f"the stop rule asks for {decision.action.value!r}, which cannot be carried out live;"
                    " choose another with --stop, or simulate"
                )
            case _:
                assert_never(decision.action)

    def announce(self, decision: StopDecision) -> float | None:
        """Tell the relay of the switchover; return the expected downtime in seconds, or a bound of it."""
        self._watch.decision = decision
        if self._relay is not None:
            self._relay.tell_go()
        if self.crowding.warning:
            self._warnings.append(self.crowding.warning)
        return decision.predicted_downtime_s or self._watch.longest_downtime_s()

    def show(self, now_s: float, *notes: str) -> None:
        """Report with ``notes``; what only reports may fail as it likes, and is asked no more."""
        every = *notes, self.convergence.warning, self.crowding.warning
        self._watch.notes = tuple(filter(None, every))
        self._reported_s = now_s
        try:
            self._report(self._watch.progress(now_s))
        except Exception as error:
            self._report = lambda _: None
            self._warnings.append(f"progress was not shown to the end: {said(error)}")

    def show_if_due(self, now_s: float, *notes: str) -> None:
        """Report, at most ten times a second, and at the end."""
        if now_s - self._reported_s >= REPORT_S or self._watch.ended:
            self.show(now_s, *notes)
