"""Steering migrations that others begin, and that pass through a relay of ours.

The relay listens where the other client, or a redirect, leads libvirt's migrations. When a domain begins to
migrate and the relay begins to read, that domain is held, decided on and let go as in `migrate`. What is
another client's stays that client's: its job is never aborted here, and its downtime is put back.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from pagethrift.address import parse_address
from pagethrift.errors import PagethriftError, VirtError
from pagethrift.live.chosen import with_strategy
from pagethrift.live.migrate_options import Order
from pagethrift.live.news import heard, relay_reports
from pagethrift.live.relay_process import RelayProcess, relay_command
from pagethrift.live.said import said_of
from pagethrift.live.undisturbed import undisturbed
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.defaults import SOURCE_URI
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.strategies.table import live_strategy
from pagethrift.virt.ends import Ends, StartRelay
from pagethrift.virt.events import DomainEvent, EventKind
from pagethrift.virt.hypervisor import GONE, PAUSED, SHUT_OFF, Domain, Hypervisor
from pagethrift.virt.library import load
from pagethrift.virt.options import check_downtime_limit
from pagethrift.virt.pilot import Pilot
from pagethrift.virt.record import record
from pagethrift.virt.switchover import Allowing, Switchover

LOOK_S = 0.05
MEET_S = 5.0
"""libvirt connects to the relay and QEMU begins its first pass within so long of one another"""
SETTLE_S = 60.0
"""libvirt ends a job whose relay has gone"""
ENDED = "the migration has ended without success"


@dataclass(frozen=True, slots=True)
class AttachOptions(Order):
    """Where migrations come from and lead to, and what is wanted of each.

    Another client decides when its job is aborted: no timeout and no deadline is in force.
    """

    listen: str
    """where the relay listens: HOST:PORT or unix:PATH"""
    to: str
    """where the destination's QEMU listens"""
    source_uri: str = SOURCE_URI
    once: bool = False
    """end after the first migration"""

    def check(self) -> None:
        """Raise UsageError when the options contradict each other."""
        parse_address(self.listen, listening=True)
        parse_address(self.to)
        live_strategy(self.strategy, self.stop, **self.parameters)
        check_downtime_limit(self.downtime_limit_s)


@dataclass(frozen=True, slots=True)
class Steered:
    """One migration that passed through, and how it ended."""

    domain: str
    result: MigrationResult


async def attach(
    options: AttachOptions,
    waiting: Callable[[], None] = lambda: None,
    progress: Callable[[Progress], None] = lambda _: None,
    ended: Callable[[Steered], None] = lambda _: None,
    libvirt: Any = None,
    start_relay: StartRelay = RelayProcess.start,
) -> None:
    """Steer one migration after the other until the task is cancelled.

    ``waiting`` is called whenever the relay listens, ``ended`` after each migration.
    Cancelled during a migration, it gives the client's downtime back and goes when the migration has ended,
    which would break without the relay. Cancelled again, it goes at once.
    Raises UsageError, VirtError, LinkError.
    """
    options.check()
    libvirt = libvirt or load()
    source = await Hypervisor.connect(libvirt, options.source_uri, "source")
    try:
        while True:
            await _one(source, options, waiting, progress, ended, start_relay)
            if options.once:
                return
    finally:
        await undisturbed(source.close())


async def _one(
    source: Hypervisor,
    options: AttachOptions,
    waiting: Callable[[], None],
    progress: Callable[[Progress], None],
    ended: Callable[[Steered], None],
    start_relay: StartRelay,
) -> None:
    options, _, planner = with_strategy(replace(options, migration_id=secrets.token_hex(4)), None)
    decider = Allowing(planner) if planner is not None else None
    watch = Watch(time.monotonic(), options.downtime_limit_s, options.bandwidth_bps, relayed=True)
    news = asyncio.Event()

    async with AsyncExitStack() as stack:
        begun: asyncio.Queue[str] = asyncio.Queue()
        forget = await source.listen(None, lambda event: _note(event, begun))
        stack.push_async_callback(lambda: undisturbed(forget()))
        argv = relay_command(
            options.listen, options.to, options.strategy, options.parameters, options.bandwidth_bps,
            options.downtime_limit_s, shown_as=options.migration_id,
        )  # fmt: skip
        relay = await start_relay(argv, relay_reports(watch, news))
        stack.push_async_callback(lambda: undisturbed(relay.close()))
        waiting()
        domain = await _meet(source, relay, begun, news)
        if domain is None:
            return
        ends = Ends(
            source=source,
            domain=domain,
            destination=None,
            identity=await domain.identity(),
            was_paused=await source.state(domain.uuid) == PAUSED,
            switchover=Switchover(domain),
            relay=relay,
            parameters={},
        )
        stack.push_async_callback(lambda: undisturbed(ends.give_back()))
        pilot = Pilot(options, ends, watch, decider, progress, news, ours=False)
        stack.push_async_callback(lambda: undisturbed(pilot.stop()))
        outcome, error = await _steer(pilot, ends)
        result = await undisturbed(record(options, ends, watch, pilot, outcome, error))
        ended(Steered(domain.name, result))


def _note(event: DomainEvent, begun: asyncio.Queue[str]) -> None:
    if event.kind is EventKind.PASS and event.number == 1:
        begun.put_nowait(event.uuid)


async def _meet(
    source: Hypervisor, relay: RelayProcess, begun: asyncio.Queue[str], news: asyncio.Event
) -> Domain | None:
    """Wait for a migration that passes through the relay; return its domain.

    None: what came to the relay has ended, and nobody knows whose it was. Raises what the relay fails with
    before anything came.
    """
    first_byte_s: float | None = None
    began_s: dict[str, float] = {}
    while True:
        if relay.failed and first_byte_s is None:
            raise await relay.failure()
        if relay.ended:
            return None
        if first_byte_s is None and relay.status.in_bytes:
            first_byte_s = time.monotonic()
        while not begun.empty():
            began_s[begun.get_nowait()] = time.monotonic()
        fit = [uuid for uuid, at_s in began_s.items() if first_byte_s and at_s > first_byte_s - MEET_S]
        if fit:
            found = [each for each in await source.active() if each.uuid in fit and await each.migrates()]
            if len(found) == 1:  # of two that have just begun nobody knows which one comes through the relay
                return found[0]
        await heard(news, LOOK_S)


async def _steer(pilot: Pilot, ends: Ends) -> tuple[Outcome, str]:
    """Steer to the end; return how it ended."""
    try:
        await pilot.start(lambda: _until_ended(ends))
        await pilot.watch_until_end()
    except asyncio.CancelledError:
        await undisturbed(ends.give_back())
        await pilot.settle(None)
        raise
    except Exception as error:
        failure: PagethriftError = said_of(error)
        await undisturbed(ends.give_back())
        await pilot.settle(None if ends.relay.failed is False else SETTLE_S)
        return (Outcome.COMPLETED, "") if pilot.moved else (Outcome.FAILED, str(failure))
    return Outcome.COMPLETED, ""


async def _until_ended(ends: Ends) -> None:
    """Return when the domain has moved. Raises VirtError when it is where it was, and no job runs."""
    domain = ends.domain
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            if await domain.migrates():
                continue
        except VirtError:  # no such domain any more, or nobody to ask
            pass
        state = await ends.source.state(domain.uuid)
        if state in (GONE, SHUT_OFF):
            return
        raise VirtError(f"domain {domain.name} at {ends.source.uri}: {ENDED}; it is {state} there")
