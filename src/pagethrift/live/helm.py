"""What every driver of a running migration does alike, over QMP or over libvirt.

It tells the relay of rounds, asks the planner with facts that are fresh, lets QEMU go, breaks off what takes
too long, and shows the progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, assert_never

from pagethrift.errors import LinkError, UsageError
from pagethrift.live.convergence import Convergence
from pagethrift.live.crowding import Crowding
from pagethrift.live.migrate_options import Order, switchover_deadline
from pagethrift.live.news import heard
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


class Lever(Protocol):
    """What lets a held QEMU go: the ``Switchover`` of a driver."""

    @property
    def gone(self) -> bool:
        """It has been let go."""
        ...

    async def go(self) -> None:
        """Make QEMU stop the guest and send the rest. Raises PagethriftError."""
        ...


class Helm:
    """Stands between one migration's observations and who acts on them; only its lever speaks to QEMU."""

    def __init__(
        self,
        options: Order,
        watch: Watch,
        relay: RelayProcess | None,
        decider: Decider | None,
        lever: Lever,
        report: Callable[[Progress], None],
        warnings: list[str],
    ) -> None:
        """Without ``relay`` QEMU goes straight to the destination; without ``decider`` QEMU decides."""
        self.deadline_s: float | None = None
        """until when the switchover may take, on CLOCK_MONOTONIC; None while there is none"""
        self.crowding = Crowding()
        self._convergence = Convergence()
        self._options = options
        self._watch = watch
        self._relay = relay
        self._decider = decider
        self._lever = lever
        self._report = report
        self._warnings = warnings
        self._told_round = 0
        self._reported_s = 0.0

    async def look(self, news: asyncio.Event) -> float:
        """Wait for ``news`` or a tick, tell the relay what is new to it, and return the time.

        That is CLOCK_MONOTONIC, in seconds.
        """
        await heard(news)
        now_s = time.monotonic()
        self._tell_rounds()
        self.crowding.look(now_s)
        return now_s

    async def steer(self, now_s: float) -> None:
        """Let QEMU go when the planner says so, or when the operator's time is over.

        Raises UsageError for a decision that cannot be carried out live, and what the lever raises.
        """
        watch, force_after_s = self._watch, self._options.force_after_s
        if self.deadline_s is None and watch.stopped_s is not None:
            expected_s = watch.predicted_downtime_s(now_s) if watch.round else watch.longest_downtime_s()
            self._set_deadline(watch.stopped_s, expected_s)
        if self._lever.gone or watch.stopped_s is not None:
            return
        may_go_s = max(watch.began_s, watch.went_s or 0.0)
        if force_after_s is not None and not watch.waits_for_go and now_s - may_go_s >= force_after_s:
            watch.forced_at_s = now_s - watch.began_s
            predicted_s = watch.predicted_downtime_s(now_s)
            await self._go(StopDecision(StopAction.SWITCH_OVER, "the operator's deadline", predicted_s))
        elif watch.status == "active":
            decision = await self._decide(now_s)
            if decision is not None:
                await self._go(decision)

    def raise_if_late(self, now_s: float, since_s: float) -> None:
        """Raise LinkError when the operator's time since ``since_s``, or the switchover's, is over."""
        timeout_s = self._options.timeout_s
        if timeout_s is not None and now_s - since_s > timeout_s:
            raise LinkError(f"migration not completed within {timeout_s:g} s (--timeout)")
        if self.deadline_s is not None and now_s > self.deadline_s:
            raise LinkError(
                "switchover broken off: the destination did not confirm in time; check whether the link has"
                " slowed down, or allow more time with --switchover-deadline"
            )

    def warnings(self) -> tuple[str, ...]:
        """Return all that an operator should know of the migration, for its record."""
        every = (*self._warnings, self._convergence.warning, self._watch.relay.warning)
        return tuple(filter(None, every))

    def show(self, now_s: float, *notes: str) -> None:
        """Report with ``notes``; what only reports may fail as it likes, and is asked no more."""
        every = *notes, self._convergence.warning, self.crowding.warning
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

    def _tell_rounds(self) -> None:
        """Tell the relay of every round that has begun since the last call."""
        while self._relay is not None and self._told_round < self._watch.round:
            self._told_round += 1
            self._relay.tell_round(self._told_round)

    async def _decide(self, now_s: float) -> StopDecision | None:
        """Ask the planner; return the decision to switch over, None: not yet."""
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
        self._convergence.look(facts.round, decision.predicted_downtime_s, facts.downtime_limit_s)
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

    async def _go(self, decision: StopDecision) -> None:
        self._watch.decision = decision
        if self._relay is not None:
            self._relay.tell_go()
        if self.crowding.warning:
            self._warnings.append(self.crowding.warning)
        expected_s = decision.predicted_downtime_s or self._watch.longest_downtime_s()
        self._set_deadline(time.monotonic(), expected_s)
        await self._lever.go()

    def _set_deadline(self, since_s: float, expected_s: float | None) -> None:
        """Allow what the operator does, or a time for the expected downtime in seconds, or a bound of it."""
        allowed_s = self._options.switchover_deadline_s
        if allowed_s is None:
            allowed_s = switchover_deadline(self._watch.downtime_limit_s, expected_s)
        self.deadline_s = since_s + allowed_s
