"""One whole migration under libvirt: prepare, run the relay, decide the switchover, say where the domain is.

libvirt itself moves the guest: it starts the destination's QEMU paused and lets it run only when the source's
has completed. So the guest never runs twice, whatever breaks; here it is only made to go through the relay,
held, let go, and asked for afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pagethrift.errors import GuestError
from pagethrift.live.chosen import with_strategy
from pagethrift.live.course import Course
from pagethrift.live.helm import Decider
from pagethrift.live.logging_decider import logged
from pagethrift.live.news import relay_reports
from pagethrift.live.relay_process import RelayProcess
from pagethrift.live.undisturbed import undisturbed
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.virt.ends import Ends, StartRelay, open_ends
from pagethrift.virt.library import load
from pagethrift.virt.options import VirtOptions
from pagethrift.virt.pilot import Pilot
from pagethrift.virt.record import record
from pagethrift.virt.switchover import Allowing
from pagethrift.virt.whereabouts import Whereabouts, ask_both

SETTLED_S = 10.0
"""libvirt lets the source's guest run on, or the destination's run, within milliseconds of the job's end"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A migration that has completed."""

    result: MigrationResult
    where: str
    """where the domain runs, as both libvirts say: a sentence"""


async def migrate(
    options: VirtOptions,
    progress: Callable[[Progress], None] = lambda _: None,
    decider: Decider | None = None,
    libvirt: Any = None,
    start_relay: StartRelay = RelayProcess.start,
) -> Migrated:
    """Migrate one domain; return the record of it and where the domain runs.

    ``progress`` is called about ten times a second inside the event loop. ``decider`` replaces the strategy's
    own stop rule, ``libvirt`` the library. Cancelling the task aborts the migration and leaves the guest
    running at the source; if it had completed, the result is returned instead.

    Raises UsageError, VirtError, LinkError or StreamError; after an error the guest runs at the source unless
    the message says otherwise.
    """
    options.check()
    options, chosen, decider = with_strategy(options, decider)
    warnings: list[str] = []
    libvirt = libvirt or load()
    with ExitStack() as stack:
        decider = logged(decider, chosen, options.facts_log, stack, warnings.append)
        decider = Allowing(decider, 1 + (options.parallel or 0)) if decider is not None else None
        watch = Watch(time.monotonic(), options.downtime_limit_s, options.bandwidth_bps, relayed=True)
        news = asyncio.Event()
        on_relay = relay_reports(watch, news)
        async with open_ends(libvirt, options, on_relay, warnings, start_relay) as ends:
            pilot = Pilot(options, ends, watch, decider, progress, news)
            try:
                return await _Migration(options, ends, watch, pilot).run()
            finally:
                await undisturbed(pilot.stop())


class _Migration(Course[Migrated]):
    """The migration itself, from its call to its record."""

    def __init__(self, options: VirtOptions, ends: Ends, watch: Watch, pilot: Pilot) -> None:
        super().__init__(options.result_path, ends.warnings)
        self._options = options
        self._ends = ends
        self._watch = watch
        self._pilot = pilot

    async def _carry_out(self) -> None:
        await self._pilot.start(self._call)
        await self._pilot.watch_until_end()

    async def _break_off(self) -> bool:
        await self._pilot.abort()
        return self._pilot.moved

    async def _guest_now(self) -> Whereabouts:
        return await self._settled(lambda found: found.stayed)

    async def _call(self) -> None:
        domain, options = self._ends.domain, self._options
        flags = options.flags(self._ends.source.libvirt)
        await domain.migrate(options.destination_uri, self._ends.parameters, flags)

    async def _complete(self) -> Migrated:
        ends = self._ends
        self._watch.on_status("completed", time.monotonic())
        if not await ends.relay.wait_done():
            ends.warnings.append("the relay did not end properly although libvirt completed the migration")
        found = await self._settled(lambda found: found.arrived)
        if not found.arrived and not found.alone_at_destination and ends.destination is not None:
            failure = GuestError(f"libvirt says that the migration has succeeded, but {found.sentence()}")
            await self._note(Outcome.COMPLETED, str(failure))
            raise failure
        where = found.sentence()
        if ends.destination is None:
            where = (
                f"libvirt says that domain {ends.domain.name} has moved to {self._options.destination_uri};"
                " nobody could ask there"
            )
        return Migrated(await self._record(Outcome.COMPLETED), where)

    async def _settled(self, reached: Callable[[Whereabouts], bool]) -> Whereabouts:
        """Ask both ends until it is as it should be, for a while; return what they said last."""
        ends, options = self._ends, self._options
        deadline_s = time.monotonic() + SETTLED_S
        while True:
            found = await ask_both(
                ends.domain.name, ends.domain.uuid, ends.source, ends.destination, options.destination_uri,
                (ends.was_paused, options.suspend),
            )  # fmt: skip
            if reached(found) or ends.destination is None or time.monotonic() > deadline_s:
                return found
            await asyncio.sleep(0.1)

    async def _result(self, outcome: Outcome, error: str) -> MigrationResult:
        return await record(self._options, self._ends, self._watch, self._pilot, outcome, error)
