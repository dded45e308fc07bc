"""One whole migration under libvirt: prepare, run the relay, decide the switchover, say where the domain is.

libvirt itself moves the guest: it starts the destination's QEMU paused and lets it run only when the source's
has completed. So the guest never runs twice, whatever breaks; here it is only made to go through the relay,
held, let go, and asked for afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pagethrift.engine.planner import Planner
from pagethrift.errors import GuestError, PagethriftError, SourceEnded
from pagethrift.live.helm import Decider
from pagethrift.live.logging_decider import logged
from pagethrift.live.relay_process import RelayProcess
from pagethrift.live.said import one_line, said_of
from pagethrift.live.undisturbed import undisturbed
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.relay_protocol import RelayStatus
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.strategies.table import live_strategy
from pagethrift.virt.ends import Ends, StartRelay, open_ends
from pagethrift.virt.library import load
from pagethrift.virt.options import VirtOptions
from pagethrift.virt.pilot import Pilot
from pagethrift.virt.record import record
from pagethrift.virt.switchover import Allowing
from pagethrift.virt.whereabouts import Whereabouts, ask_both
from pagethrift.whole_file import write_text

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
    chosen = live_strategy(options.strategy, options.stop, **options.parameters)
    options = replace(options, parameters=chosen.parameters, stop_parameters=chosen.stop_parameters)
    if decider is None and not chosen.qemu_decides:
        decider = Planner(chosen.stop)
    warnings: list[str] = []
    libvirt = libvirt or load()
    with ExitStack() as stack:
        decider = logged(decider, chosen, options.facts_log, stack, warnings.append)
        decider = Allowing(decider) if decider is not None else None
        watch = Watch(time.monotonic(), options.downtime_limit_s, options.bandwidth_bps, relayed=True)
        news = asyncio.Event()

        def on_relay(status: RelayStatus) -> None:
            watch.on_relay(status)
            news.set()

        async with open_ends(libvirt, options, on_relay, warnings, start_relay) as ends:
            pilot = Pilot(options, ends, watch, decider, progress, news)
            try:
                return await _Migration(options, ends, watch, pilot).run()
            finally:
                await undisturbed(pilot.stop())


class _Migration:
    """The migration itself, from its call to its record."""

    def __init__(self, options: VirtOptions, ends: Ends, watch: Watch, pilot: Pilot) -> None:
        self._options = options
        self._ends = ends
        self._watch = watch
        self._pilot = pilot

    async def run(self) -> Migrated:
        """Carry the migration out; see `migrate`."""
        try:
            await self._pilot.start(self._call)
            await self._pilot.watch_until_end()
        except asyncio.CancelledError as error:
            await undisturbed(self._pilot.abort())
            if not self._pilot.moved:
                found = await undisturbed(self._settled(lambda found: found.stayed))
                error.args = (found.sentence(),)
                await undisturbed(self._note(Outcome.CANCELLED, f"interrupted; {found.sentence()}"))
                raise
        except Exception as error:
            failure = await undisturbed(self._failure(said_of(error)))
            if failure is not None:
                await undisturbed(self._note(Outcome.FAILED, str(failure)))
                raise failure from error
        return await undisturbed(self._complete())

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

    async def _failure(self, error: PagethriftError) -> PagethriftError | None:
        """End the migration; return what went wrong and where the domain is, None: it had completed."""
        await self._pilot.abort()
        if self._pilot.moved:
            self._ends.warnings.append(str(error))
            return None
        if isinstance(error, SourceEnded):
            return error
        found = await self._settled(lambda found: found.stayed)
        if found.at_one_end:
            return one_line(error, found.sentence())
        return GuestError(f"{error}; {found.sentence()}")

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

    async def _note(self, outcome: Outcome, error: str) -> None:
        """Record a migration that came to nothing; what goes wrong with that must not hide ``error``."""
        with contextlib.suppress(Exception):
            await self._record(outcome, error)

    async def _record(self, outcome: Outcome, error: str = "") -> MigrationResult:
        result = await record(self._options, self._ends, self._watch, self._pilot, outcome, error)
        return self._written(result)

    def _written(self, result: MigrationResult) -> MigrationResult:
        """Write the result file; the domain has moved or not, whatever becomes of a file."""
        path = self._options.result_path
        if path is None:
            return result
        try:
            write_text(path, result.to_json())
        except OSError as error:
            warning = f"the result could not be written to {path}: {error.strerror or error}"
            return replace(result, warnings=(*result.warnings, warning))
        return result
