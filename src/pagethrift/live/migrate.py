"""One whole live migration: prepare both QEMUs, run the relay, decide the switchover, clean up.

The order of the end is what keeps the guest safe. An incoming QEMU whose monitor we have is told not
to start its guest; we start it only after the source has said "completed". If anything breaks before
that, the relay closes its sockets, the source resumes, and no other copy of the guest can be running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from pagethrift.engine.planner import Planner
from pagethrift.errors import PagethriftError, QmpError
from pagethrift.live.ends import Ends, open_ends
from pagethrift.live.host import qemu_cpu_s
from pagethrift.live.live_result import build_result
from pagethrift.live.logging_decider import logged
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.pilot import Decider, Pilot, one_line
from pagethrift.live.undisturbed import undisturbed
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.strategies.table import live_strategy

CANCEL_S = 10.0
"""a source whose migration broke says so within 25 ms; one short of processor time takes longer"""
LAST_WORD_S = 3.0


async def migrate(
    options: MigrateOptions,
    progress: Callable[[Progress], None] = lambda _: None,
    decider: Decider | None = None,
) -> MigrationResult:
    """Migrate one guest and return the record of it.

    ``progress`` is called about ten times a second inside the event loop. ``decider`` replaces the
    strategy's own stop rule, or QEMU's in a plain migration. Cancelling the task breaks the migration
    off and leaves the guest running at the source. If the migration had already completed, the result
    is returned instead.

    Raises UsageError, QmpError, LinkError or StreamError; after an error the guest runs at the source
    unless the message says otherwise.
    """
    options.check()
    chosen = None
    if not options.plain:
        chosen = live_strategy(options.strategy, options.stop, **options.parameters)
        options = replace(options, parameters=chosen.parameters, stop_parameters=chosen.stop_parameters)
        if decider is None and not chosen.qemu_decides:
            decider = Planner(chosen.stop)
    with ExitStack() as stack:
        decider = logged(decider, chosen, options.facts_log, stack)
        return await _migrate(options, progress, decider)


async def _migrate(
    options: MigrateOptions, progress: Callable[[Progress], None], decider: Decider | None
) -> MigrationResult:
    watch = Watch(time.monotonic(), options.downtime_limit_s, options.bandwidth_bps, not options.plain)
    news = asyncio.Event()

    def on_relay(status: RelayStatus) -> None:
        watch.on_relay(status)
        news.set()

    async with open_ends(options, on_relay) as ends:
        pilot = Pilot(options, ends, watch, decider, progress, news)
        try:
            return await _LiveMigration(options, ends, watch, pilot).run()
        finally:
            await undisturbed(pilot.stop())


class _LiveMigration:
    """The migration itself, from `migrate` to its record."""

    def __init__(self, options: MigrateOptions, ends: Ends, watch: Watch, pilot: Pilot) -> None:
        self._options = options
        self._ends = ends
        self._watch = watch
        self._pilot = pilot
        self._cpu_before_s = qemu_cpu_s(ends.source.peer_pid)

    async def run(self) -> MigrationResult:
        """Carry the migration out; see `migrate`."""
        try:
            await self._pilot.start()
            await self._pilot.watch_until_end()
            if self._watch.status != "completed":
                raise await self._why_source_failed()
        except asyncio.CancelledError:
            if not await undisturbed(self._break_off()):
                await undisturbed(self._record(Outcome.CANCELLED, error="cancelled by the operator"))
                raise
        except PagethriftError as error:
            if not await undisturbed(self._break_off_after(error)):
                await undisturbed(self._record(Outcome.FAILED, error=str(error)))
                raise
        return await undisturbed(self._complete())

    async def _complete(self) -> MigrationResult:
        """Start the guest at the destination and collect the last numbers: the source has completed."""
        self._pilot.start_take_over()
        try:
            resumed_s = await self._pilot.take_over if self._pilot.take_over is not None else None
        except QmpError as error:
            await self._record(Outcome.FAILED, error=str(error))
            raise
        relay = self._ends.relay
        if relay is not None and not await relay.wait_done():
            self._ends.warnings.append("the relay did not end properly although the source completed")
        try:
            self._watch.on_info(await self._ends.source.query_migrate(), time.monotonic())
        except QmpError as error:
            self._ends.warnings.append(str(error))
        return await self._record(Outcome.COMPLETED, resumed_s=resumed_s)

    async def _break_off(self) -> bool:
        """Stop the migration so that the source's guest goes on; True if the migration had completed."""
        watch = self._watch
        if watch.status.startswith("postcopy"):  # cannot be undone: wait for its end
            await self._pilot.watch_until_end()
            return watch.status == "completed"
        if self._may_run_at_destination():
            await self._pilot.settle(LAST_WORD_S)
        if not watch.ended and self._ends.source.alive:
            try:
                await self._ends.source.cancel_migration()
            except QmpError as error:  # closing the relay's sockets (below) has the same effect
                self._ends.warnings.append(str(error))
        if self._ends.relay is not None and watch.status != "completed":
            await self._ends.relay.close()
        await self._pilot.settle(CANCEL_S)
        return watch.status == "completed"

    async def _break_off_after(self, error: PagethriftError) -> bool:
        """Do what `_break_off` does, and append the state of the guest to the error's line."""
        destination = self._ends.destination
        reason = await destination.why_it_failed() if destination is not None else ""
        reason = f"destination: {reason}" if reason else ""
        if self._watch.status.startswith("postcopy"):
            one_line(error, reason)
            return False
        if await self._break_off():
            self._ends.warnings.append(str(error))
            return True
        one_line(error, reason, await self._guest_now())
        return False

    def _may_run_at_destination(self) -> bool:
        """Whether the destination may have everything, and may start its guest without asking us."""
        if self._ends.destination is not None or self._watch.stopped_s is None or self._watch.ended:
            return False
        relay = self._ends.relay
        return relay is None or relay.status.state in (RelayState.TAIL, RelayState.PIPE, RelayState.DONE)

    async def _guest_now(self) -> str:
        """Return the state of the source's guest after a failure; it resumes by itself."""
        wanted = "running" if self._ends.source_ran else "paused"
        deadline_s = time.monotonic() + CANCEL_S
        try:
            while (status := await self._ends.source.query_status()) != wanted:
                if time.monotonic() > deadline_s:
                    return (
                        f"the guest at the source is {status}: make sure that it does not run at the"
                        " destination, then send cont to the source"
                    )
                await asyncio.sleep(0.05)
        except QmpError:
            return "the source QEMU does not answer: look at its process"
        return "the guest runs on at the source" if self._ends.source_ran else "the guest stays at the source"

    async def _why_source_failed(self) -> PagethriftError:
        """Return the relay's error if the relay failed, otherwise the source's."""
        await asyncio.sleep(0.1)  # query-migrate has the error text only after the event
        relay = self._ends.relay
        # A failing relay closes its sockets first; on a busy machine QEMU's event overtakes its last message.
        if relay is not None and await relay.wait_last_word(LAST_WORD_S) and relay.failed:
            return await relay.failure()
        reason = self._watch.error or "no reason given"
        return QmpError(f"source {self._ends.source.path}: migration {self._watch.status}: {reason}")

    async def _record(
        self, outcome: Outcome, resumed_s: float | None = None, error: str = ""
    ) -> MigrationResult:
        cpu_s = qemu_cpu_s(self._ends.source.peer_pid)
        await self._ends.give_back()
        before_s = self._cpu_before_s
        result = build_result(
            self._options,
            self._ends.identity,
            self._watch,
            outcome,
            stopped_s=self._pilot.stopped_s,
            resumed_s=resumed_s,
            source_cpu_s=cpu_s - before_s if cpu_s is not None and before_s is not None else None,
            error=error,
            warnings=tuple(filter(None, (*self._ends.warnings, self._watch.relay.warning))),
        )
        if self._options.result_path is not None:
            self._options.result_path.write_text(result.to_json())
        return result
