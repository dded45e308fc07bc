"""The evacuation itself: starts migrations as the policy says, holds and releases those that are
pre-staged."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pagethrift.drain.child import UNKNOWN_CODE, Child, command
from pagethrift.drain.forecasts import Known
from pagethrift.drain.places import Place, find
from pagethrift.drain.record import result_of
from pagethrift.drain.state import GuestState, Stage, State, StateFile
from pagethrift.errors import PagethriftError
from pagethrift.evacuation.advice import Outlook
from pagethrift.evacuation.link import Links, shares
from pagethrift.evacuation.outline import Outline
from pagethrift.evacuation.plan import AtDeadline, Guest, Plan
from pagethrift.evacuation.policy import Policy
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import Outcome
from pagethrift.model.running import Running
from pagethrift.outside.finding import Found, change, find_running

TICK_S = 0.2
ASK_AT_ONCE = 16
LOOK_S = 0.5
"""between two looks at all migrations of this host"""
RECAP = 0.05
"""a cap is changed when it is to change by more than this share"""
NEED_SPARE = 1.25
"""what a guest that waits near its end is given, as a share of what it needs to converge"""
SWITCHING = frozenset({"device", "completed", "pre-switchover", "wait-unplug"})
"""QEMU's migration status from the switchover on"""


@dataclass(frozen=True, slots=True)
class Row:
    """One guest now, for people and programs."""

    name: str
    destination: str
    stage: Stage
    phase: str = ""
    """of its migration: QEMU's status, or "waits for go" """
    done: float | None = None
    """share of the first round; None: not known, or past it"""
    round: int = 0
    sent_bytes: int = 0
    link_bps: float = 0.0
    predicted_downtime_s: float | None = None
    downtime_limit_s: float = 0.0
    planned_out_s: float | None = None
    """seconds from the beginning; None: not planned"""
    out_s: float | None = None
    said: str = ""


class Evacuation:
    """One evacuation from its first migration until no guest is on its way any more."""

    def __init__(
        self,
        plan: Plan,
        made: Outline,
        known: Mapping[str, Known],
        state: State,
        file: StateFile,
        folder: Path,
    ) -> None:
        """``state`` says where each guest of the plan is; ``made`` is worked out for those still here."""
        self._plan = plan
        self._made = made
        self._known = known
        self._state = state
        self._file = file
        self._folder = folder
        self._guests: dict[str, Guest] = {each.name: each for each in plan.guests}
        self._children: dict[str, Child] = {}
        self._found: dict[str, Found] = {}
        """by migration id, as of the last look"""
        self._caps: dict[str, float] = {}
        self._looked_s = float("-inf")
        self._go = state.went_unix_s is not None or plan.prestage is None
        self._staged = made.staging.staged if made.staging is not None else ()
        self.interrupted = False
        self._expired = False

    def go(self) -> None:
        """Let the guests that were brought over switch over."""
        self._go = True

    def cancel(self) -> None:
        """Start nothing more and break off what does not switch over yet; a second call, also that."""
        for name, child in self._children.items():
            if self.interrupted or not self._switches(name):
                child.tell_to_end()
        self.interrupted = True

    async def run(self, show: Callable[[list[Row]], None]) -> None:
        """Return when no guest is on its way and none is to be started any more. Raises OSError."""
        self._adopt()
        while True:
            await self._look()
            for name, child in list(self._children.items()):
                if (code := child.ended()) is not None:
                    await self._ended(name, child, code)
            self._watch_the_clock()
            if self._go:
                await self._let_go()
            if not (self.interrupted or self._expired):
                self._start(*self._due())
            await self._share_cap()
            show(self.rows())
            if not self._children and not (self._waiting() and self._may_start()):
                return
            await asyncio.sleep(TICK_S)

    def rows(self) -> list[Row]:
        """Return every guest of the plan, as it is now."""
        outlooks = {each.name: each for each in self._made.outlooks}
        return [self._row(each, outlooks.get(each.name)) for each in self._plan.guests]

    def _row(self, guest: Guest, outlook: Outlook | None) -> Row:
        state, running = self._state.guests[guest.name], self._running(guest.name)
        ended_s = state.ended_unix_s
        row = Row(
            guest.name, guest.destination, state.stage, downtime_limit_s=guest.downtime_limit_s,
            planned_out_s=outlook.out_s if outlook and math.isfinite(outlook.out_s) else None,
            said=state.said,
            out_s=ended_s - self._state.began_unix_s if ended_s and state.stage is Stage.OUT else None,
        )  # fmt: skip
        if running is None or guest.name not in self._children:
            return row
        first = running.round == 0 and running.ram_bytes > 0
        return Row(
            row.name, row.destination, row.stage,
            phase="waits for go" if self._near_end(guest.name) else running.state,
            done=1 - running.remaining_bytes / running.ram_bytes if first else None,
            round=running.round, sent_bytes=running.out_bytes, link_bps=running.link_bps,
            predicted_downtime_s=running.predicted_downtime_s,
            downtime_limit_s=running.downtime_limit_s or row.downtime_limit_s,
            planned_out_s=row.planned_out_s, said=running.warning,
        )  # fmt: skip

    def _adopt(self) -> None:
        """Take over the migrations that an evacuation has started which was killed since."""
        for name, state in self._state.guests.items():
            if state.stage is Stage.ON_WAY:
                self._children[name] = Child.adopted(state.pid, state.started, self._log(name))

    async def _look(self) -> None:
        """See how far all migrations are; what cannot be seen now is seen the next time."""
        if not self._children or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        with contextlib.suppress(PagethriftError, OSError, RuntimeError):
            found = await asyncio.to_thread(find_running)
            self._found = {each.running.id: each for each in found if each.running and each.is_ours}

    def _running(self, name: str) -> Running | None:
        found = self._found.get(self._state.guests[name].id)
        return found.running if found is not None else None

    def _switches(self, name: str) -> bool:
        running = self._running(name)
        return running is not None and bool(running.switchover or running.state in SWITCHING)

    def _near_end(self, name: str) -> bool:
        """Whether a guest that is held back could switch over within its limit if its cap were lifted now."""
        running, guest = self._running(name), self._guests[name]
        if running is None or not running.waits_for_go or running.round < 1:
            return False
        predicted_s = running.predicted_downtime_s
        faster = min(1.0, running.link_bps / self._plan.links.best_bps(guest.destination))
        return predicted_s is not None and predicted_s * faster <= running.downtime_limit_s

    def _waiting(self) -> list[str]:
        return [name for name, each in self._state.guests.items() if each.stage is Stage.WAITING]

    def _may_start(self) -> bool:
        """Whether more may start, now or after the word to go."""
        return not (self.interrupted or self._expired)

    def _due(self) -> tuple[list[str], float | None]:
        """Return the guests to start now and, for pre-staging, the cap that they begin with."""
        waiting, links = self._waiting(), self._plan.links
        if self._go:
            held = [name for name in self._children if self._state.guests[name].waits_for_go]
            policy = self._made.choice.chosen.policy
            return (
                ([], None)
                if held
                else (policy.starts(waiting, self._children, self._made.guests, links), None)
            )
        prestage = self._plan.prestage
        assert prestage is not None
        moving = [name for name in self._children if not self._near_end(name)]
        policy = Policy("pre-staging", self._staged, self._plan.concurrency)
        names = policy.starts(
            [name for name in waiting if name in self._staged], moving, self._made.guests, links
        )
        return names, prestage.bandwidth_bps / max(1, len(self._children) + len(names))

    def _start(self, names: list[str], cap_bps: float | None) -> None:
        for name in names:
            guest, state = self._guests[name], self._state.guests[name]
            state.id = f"{name}-{secrets.token_hex(3)}"
            arguments = command(
                guest, self._known[name].options, state.id, self._folder / f"{name}.json", cap_bps
            )
            child = Child.start(arguments, self._log(name))
            self._children[name] = child
            state.stage, state.pid, state.started = Stage.ON_WAY, child.pid, child.started
            state.began_unix_s, state.waits_for_go, state.said = time.time(), cap_bps is not None, ""
            self._file.write(self._state)
            if cap_bps is not None:
                self._caps[name] = cap_bps

    async def _ended(self, name: str, child: Child, code: int) -> None:
        """Find out where the guest is whose migration has ended."""
        del self._children[name]
        state = self._state.guests[name]
        state.ended_unix_s, state.waits_for_go = time.time(), False
        result = result_of(self._folder / f"{name}.json", state.id) if code == 0 else None
        if result is not None and result.outcome is Outcome.COMPLETED:
            state.stage, state.said = Stage.OUT, ""
        else:
            found = await find(self._guests[name])
            state.stage = STAGES[found.place]
            last = "" if code == UNKNOWN_CODE and found.place is Place.DESTINATION else child.last_line()
            state.said = "; ".join(filter(None, dict.fromkeys((last, found.sentence))))
        self._file.write(self._state)

    def _watch_the_clock(self) -> None:
        """Act when the deadline has come, or the time to switch over, or a guest's time is over."""
        now_s, began_s, plan = time.time(), self._state.began_unix_s, self._plan
        switch = plan.prestage.switch if plan.prestage is not None else None
        if switch is not None and not self._go and now_s >= switch.unix_s(began_s):
            self._go = True
        if plan.at_deadline is AtDeadline.CANCEL and now_s >= plan.deadline.unix_s(began_s):
            self._expired = True
        for name, child in self._children.items():
            if self._switches(name):
                continue
            if self._expired or self._gave_up(name, now_s):
                child.tell_to_end()

    def _gave_up(self, name: str, now_s: float) -> bool:
        leaver, state = self._made.guests.get(name), self._state.guests[name]
        if leaver is None or state.waits_for_go or state.began_unix_s is None:
            return False
        after_s = self._made.choice.chosen.policy.give_up_after_s(leaver)
        began_s = max(state.began_unix_s, self._state.went_unix_s or 0.0)
        return after_s is not None and now_s - began_s > after_s

    async def _let_go(self) -> None:
        """Tell the guests that wait near their end to go, no more at once than may be on their way."""
        if self._state.went_unix_s is None and self._plan.prestage is not None:
            self._state.went_unix_s = time.time()
            self._file.write(self._state)
        held = [name for name in self._children if self._state.guests[name].waits_for_go]
        free = self._plan.concurrency - (len(self._children) - len(held))
        order = {name: place for place, name in enumerate(self._made.choice.chosen.policy.order)}
        for name in sorted(held, key=lambda name: order.get(name, len(order)))[: max(0, free)]:
            if await self._change(name, Change(bandwidth_bps=0, go=True)):
                self._state.guests[name].waits_for_go = False
                self._caps.pop(name, None)
                self._file.write(self._state)

    async def _share_cap(self) -> None:
        """Divide the cap of pre-staging: guests that wait near their end get what they need, others the
        rest."""
        prestage = self._plan.prestage
        held = [name for name in self._children if self._state.guests[name].waits_for_go]
        if prestage is None or not held:
            return
        wanted = {name: (self._guests[name].destination, self._wants_bps(name)) for name in held}
        capped = Links(min(prestage.bandwidth_bps, self._plan.links.host_bps), self._plan.links.destinations)
        for name, bps in shares(capped, wanted).items():
            had = self._caps.get(name, 0.0)
            changed = abs(bps - had) > RECAP * max(had, 1.0)
            if changed and bps >= 1 and await self._change(name, Change(bandwidth_bps=int(bps))):
                self._caps[name] = bps

    def _wants_bps(self, name: str) -> float:
        leaver = self._made.guests.get(name)
        if leaver is None or not self._near_end(name) or not leaver.costs.points:
            return float("inf")
        return leaver.costs.converges_from_bps * NEED_SPARE

    async def _change(self, name: str, wanted: Change) -> bool:
        """Change a migration; False: it has not begun, or is over, and is asked again at the next look."""
        found = self._found.get(self._state.guests[name].id)
        if found is None:
            return False
        try:
            await asyncio.to_thread(change, found, wanted)
        except PagethriftError:
            return False
        return True

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


STAGES = {Place.SOURCE: Stage.STAYED, Place.DESTINATION: Stage.OUT, Place.UNKNOWN: Stage.IN_DOUBT}


async def resumed(plan: Plan, state: State) -> None:
    """Bring ``state`` up to date by asking both ends of every guest that no migration of ours moves now."""
    room = asyncio.Semaphore(ASK_AT_ONCE)

    async def ask(guest: Guest) -> None:
        known = state.guests.setdefault(guest.name, GuestState())
        if known.stage is Stage.ON_WAY and Child.adopted(known.pid, known.started, Path()).ended() is None:
            return
        async with room:
            found = await find(guest)
        if found.place is Place.SOURCE:
            state.guests[guest.name] = GuestState()
            return
        known.stage, known.said = STAGES[found.place], found.sentence
        known.waits_for_go = False

    await asyncio.gather(*map(ask, plan.guests))
