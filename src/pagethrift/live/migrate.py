"""One whole live migration: prepare both QEMUs, run the relay, decide the switchover, clean up.

The order of the end is what keeps the guest safe. An incoming QEMU whose monitor we have is told not
to start its guest; we start it only after the source has said "completed". If anything breaks before
that, the relay closes its sockets, the source resumes, and no other copy of the guest can be running.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import ExitStack

from pagethrift.errors import PagethriftError, QmpError
from pagethrift.live.changes import Changes
from pagethrift.live.chosen import with_strategy
from pagethrift.live.course import Course, located
from pagethrift.live.ends import Ends, open_ends
from pagethrift.live.handle import Handle
from pagethrift.live.helm import Decider
from pagethrift.live.live_result import build_result
from pagethrift.live.logging_decider import logged
from pagethrift.live.migrate_options import MigrateOptions
from pagethrift.live.news import relay_reports
from pagethrift.live.pilot import Pilot
from pagethrift.live.said import one_line, said_of
from pagethrift.live.undisturbed import undisturbed
from pagethrift.live.watch import Progress, Watch
from pagethrift.live.whereabouts import Whereabouts, whereabouts
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import MigrationResult, Outcome

CANCEL_S = 10.0
"""a source whose migration broke says so within 25 ms; one short of processor time takes longer"""
LAST_WORD_S = 3.0
UNASKED = "without --destination-qmp nobody asked the destination: see that its guest runs"


async def migrate(
    options: MigrateOptions,
    progress: Callable[[Progress], None] = lambda _: None,
    decider: Decider | None = None,
    handle: Handle | None = None,
) -> MigrationResult:
    """Migrate one guest and return the record of it.

    ``progress`` is called about ten times a second inside the event loop. ``decider`` replaces the
    strategy's own stop rule, or QEMU's in a plain migration. ``handle`` shows the migration to other
    threads and lets them change it. Cancelling the task breaks the migration
    off and leaves the guest running at the source. If the migration had already completed, the result
    is returned instead.

    Raises UsageError, QmpError, LinkError or StreamError; after an error the guest runs at the source
    unless the message says otherwise.
    """
    options.check()
    chosen = None
    if not options.plain:
        options, chosen, decider = with_strategy(options, decider)
    warnings: list[str] = []
    with ExitStack() as stack:
        decider = logged(decider, chosen, options.facts_log, stack, warnings.append)
        return await _migrate(options, progress, decider, warnings, handle or Handle(options))


async def _migrate(
    options: MigrateOptions,
    progress: Callable[[Progress], None],
    decider: Decider | None,
    warnings: list[str],
    handle: Handle,
) -> MigrationResult:
    watch = Watch(time.monotonic(), options.downtime_limit_s, options.bandwidth_bps, not options.plain)
    watch.bandwidth_cap_bps = options.features.max_bandwidth_bps
    if options.cap_bps is not None:
        watch.bandwidth_cap_bps = options.cap_bps
    watch.waits_for_go = options.wait_for_go
    news = asyncio.Event()

    def report(seen: Progress) -> None:
        handle.look(seen, watch.relay, watch.sent_by_pass())
        progress(seen)

    async with open_ends(options, relay_reports(watch, news), warnings) as ends:
        pilot = Pilot(options, ends, watch, decider, report, news)
        if options.cap_bps is not None and ends.relay is not None:
            ends.relay.tell_change(Change(bandwidth_bps=options.cap_bps))
        changes = Changes(ends, watch, pilot.switchover, decider is None)
        handle.open(ends.identity.guest, ends.relay.pid if ends.relay else 0, changes.carry_out)
        try:
            return await _LiveMigration(options, ends, watch, pilot).run()
        finally:
            handle.close()
            await undisturbed(pilot.stop())


class _LiveMigration(Course[MigrationResult]):
    """The migration itself, from `migrate` to its record."""

    def __init__(self, options: MigrateOptions, ends: Ends, watch: Watch, pilot: Pilot) -> None:
        super().__init__(options.result_path, ends.warnings)
        self._options = options
        self._ends = ends
        self._watch = watch
        self._pilot = pilot
        self._cpu_before_s = self._source_cpu_s()
        self._resumed_s: float | None = None
        """when the destination's guest began to run, on CLOCK_MONOTONIC"""

    async def _carry_out(self) -> None:
        await self._pilot.start()
        await self._pilot.watch_until_end()
        if self._watch.status != "completed":
            raise await self._why_source_failed()

    async def _complete(self) -> MigrationResult:
        """Start the guest at the destination and collect the last numbers: the source has completed."""
        self._pilot.start_take_over()
        try:
            self._resumed_s = await self._pilot.take_over if self._pilot.take_over is not None else None
        except Exception as error:
            self._resumed_s = await self._take_over_failed(said_of(error))
        if self._pilot.shutdown_reason and not self._watch.runs:  # -no-shutdown keeps such a source
            self._ends.warnings.append(
                f"the guest was powered off ({self._pilot.shutdown_reason}) during the migration:"
                " it is at the destination, and does not run"
            )
        elif self._ends.destination is None:
            self._ends.warnings.append(UNASKED)
        try:
            return await self._completed()
        except Exception as error:
            monitor = self._ends.destination.monitor if self._ends.destination else None
            found = await whereabouts(self._ends.source, monitor, True, self._watch.runs)
            raise one_line(said_of(error), found.sentence()) from error

    async def _completed(self) -> MigrationResult:
        relay = self._ends.relay
        if relay is not None and not await relay.wait_done():
            self._ends.warnings.append("the relay did not end properly although the source completed")
        try:
            self._watch.on_info(await self._ends.source.query_migrate(), time.monotonic())
        except QmpError as error:
            self._ends.warnings.append(str(error))
        return await self._record(Outcome.COMPLETED)

    async def _take_over_failed(self, error: PagethriftError) -> float | None:
        """The source is done and the destination's monitor says no: make sure that the guest runs somewhere.

        Returns when the guest runs at the destination all the same.
        """
        ends, destination = self._ends, self._ends.destination
        assert destination is not None
        found = await whereabouts(ends.source, destination.monitor, True, self._watch.runs)
        lost = found.destination is not None and found.destination.ended
        if lost and self._watch.runs and found.source.run_state == "postmigrate":
            # The destination is gone for good, and what it may have run of the guest with it.
            with contextlib.suppress(QmpError):
                await ends.source.execute("cont")
                found = await whereabouts(ends.source, destination.monitor, True, self._watch.runs)
        if found.destination is not None and found.destination.running:
            ends.warnings.append(str(error))
            return destination.resumed_s
        failure = located(error, found)
        await self._note(Outcome.FAILED, str(failure))
        raise failure

    def _source_cpu_s(self) -> float | None:
        process = self._ends.source.process
        return process.cpu_s() if process is not None else None

    async def _break_off(self) -> bool:
        watch = self._watch
        if watch.status.startswith("postcopy"):  # cannot be undone: wait for its end
            await self._pilot.watch_until_end()
            return watch.status == "completed"
        if self._may_run_at_destination():
            await self._pilot.settle(LAST_WORD_S)
        if not watch.ended and self._pilot.accepted and self._ends.source.alive:
            try:
                await self._ends.source.cancel_migration()
            except QmpError as error:  # closing the relay's sockets (below) has the same effect
                self._ends.warnings.append(str(error))
        if self._ends.relay is not None and watch.status != "completed":
            await self._ends.relay.close()
        await self._pilot.settle(CANCEL_S)
        return watch.status == "completed"

    async def _failure(self, error: PagethriftError, *more: str) -> PagethriftError | None:
        destination = self._ends.destination
        reason = await destination.why_it_failed() if destination is not None else ""
        reason = f"destination: {reason}" if reason else ""
        if (
            destination is not None
            and "cannot connect" in str(error)
            and (at := await destination.listens_at())
        ):
            reason = f"the destination listens on {at}; choose another address with --incoming"
        if self._watch.status.startswith("postcopy"):
            return one_line(error, reason)
        return await super()._failure(error, reason)

    def _may_run_at_destination(self) -> bool:
        """Whether the destination may have everything, and may start its guest without asking us."""
        return self._ends.destination is None and self._may_be_all_sent and not self._watch.ended

    @property
    def _may_be_all_sent(self) -> bool:
        """Whether the destination may hold the whole guest; the relay's last report may be 0.1 s old.

        A destination that can be asked needs no such caution: it starts nothing unless told to.
        """
        return self._watch.all_sent or (self._ends.destination is None and self._watch.switched)

    async def _guest_now(self) -> Whereabouts:
        source, destination = self._ends.source, self._ends.destination
        deadline_s = time.monotonic() + CANCEL_S
        while True:
            monitor = destination.monitor if destination else None
            found = await whereabouts(source, monitor, self._may_be_all_sent, self._watch.runs)
            settled = found.source.running or not self._watch.runs or not source.alive
            if settled or time.monotonic() > deadline_s:
                return found
            await asyncio.sleep(0.05)

    async def _why_source_failed(self) -> PagethriftError:
        """Return the best explanation: another client, the relay if it failed, else the source."""
        await asyncio.sleep(0.1)  # the poll's error text comes after the event
        if self._watch.status == "cancelled" and (error := await self._pilot.cause_at_source()):
            return error
        relay = self._ends.relay
        # A relay that fails closes its sockets first; on a busy machine QEMU's event overtakes its last word.
        if relay is not None and await relay.wait_last_word(LAST_WORD_S) and relay.failed:
            return await self._pilot.why_relay_failed(relay)
        reason = self._watch.error or "no reason given"
        return QmpError(f"source {self._ends.source.path}: migration {self._watch.status}: {reason}")

    async def _result(self, outcome: Outcome, error: str) -> MigrationResult:
        cpu_s = self._source_cpu_s()
        await self._ends.give_back()
        before_s = self._cpu_before_s
        return build_result(
            self._options,
            self._ends.identity,
            self._watch,
            outcome,
            stopped_s=self._watch.stopped_s,
            resumed_s=self._resumed_s,
            source_cpu_s=cpu_s - before_s if cpu_s is not None and before_s is not None else None,
            error=error,
            warnings=self._pilot.helm.warnings(),
            channels=self._ends.channels,
        )
