"""After a kill: the operator's settings are put back, and both ends say where the guest is.

A pagethrift that is killed between the source's "completed" and the destination's start leaves the guest at
neither end. It is started here only when asked for, and only when no other copy of it can run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from pagethrift.address import parse_qmp_path
from pagethrift.errors import QmpError, UsageError
from pagethrift.live.compatibility import unlike
from pagethrift.live.destination import Destination
from pagethrift.live.kept import claimed
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.settings import BorrowedSettings
from pagethrift.live.whereabouts import EndState, Whereabouts, ask

OVER = frozenset({"", "none", "completed", "failed", "cancelled"})
LOADED_S = 10.0
"""a limit only: what has reached a destination is loaded within milliseconds"""
LOADED = ("paused", "prelaunch")
"""run states of a destination that has loaded a guest and was told not to start it"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and where the guest is."""

    found: tuple[str, ...]
    """for each QEMU what a killed pagethrift had left, as a line; empty: nothing"""
    values: Mapping[str, Mapping[str, Any]]
    """role ("source", "destination") -> the operator's values"""
    source: EndState
    destination: EndState | None
    guest: str
    """where it is and, if somebody must act, how"""
    in_doubt: bool
    """it runs at neither end, at both, or nobody can say"""
    started: bool
    """it was started here"""


@dataclass(slots=True)
class _Found:
    found: list[str] = field(default_factory=list)
    values: dict[str, Mapping[str, Any]] = field(default_factory=dict)


async def restore(source_qmp: str, destination_qmp: str | None = None, start: bool = False) -> Restored:
    """Put the operator's settings back at one QEMU or both, and ask where the guest is.

    ``start`` True starts it at the destination if the source has handed it over completely and neither runs
    it. Raises QmpError, also while a migration runs, and UsageError.
    """
    parse_qmp_path(source_qmp, "--qmp")
    if destination_qmp is not None:
        parse_qmp_path(destination_qmp, "--destination-qmp")
    elif start:
        raise UsageError(
            "--start: give --destination-qmp too, to see that the guest is there and does not run"
        )
    put_back = _Found()
    async with AsyncExitStack() as stack:
        source = await _connected(stack, source_qmp, "source")
        stack.enter_context(claimed(source))
        await _put_back(source, put_back)
        if destination_qmp is None:
            handed_over = await _handed_over(source)
            return _restored(put_back, await ask(source), None, handed_over)
        try:
            destination = await _connected(stack, destination_qmp, "destination")
        except QmpError:
            return _restored(
                put_back, await ask(source), EndState(destination_qmp), await _handed_over(source)
            )
        if source.peer_pid == destination.peer_pid and source.process is not None:
            raise UsageError("--qmp and --destination-qmp lead to the same QEMU")
        stack.enter_context(claimed(destination))
        return await _both(source, destination, put_back, start)


async def _both(source: QmpMonitor, destination: QmpMonitor, put_back: _Found, start: bool) -> Restored:
    handed_over = await _handed_over(source)
    loaded = handed_over and await _loaded(destination)
    if not handed_over or loaded:  # one that still loads keeps its settings until it has
        await _put_back(destination, put_back)
    first, second = await asyncio.gather(ask(source), ask(destination))
    stranded = loaded and first.run_state == "postmigrate" and second.run_state in LOADED
    if not start or not stranded:
        return _restored(put_back, first, second, handed_over, stranded=stranded)
    if lines := await unlike(source, destination):
        raise QmpError(
            f"destination {destination.path}: not started, it holds another guest: {'; '.join(lines)}"
        )
    await Destination(destination).take_over(start_guest=True)
    first, second = await asyncio.gather(ask(source), ask(destination))
    return _restored(put_back, first, second, handed_over, started=True)


def _restored(
    put_back: _Found,
    source: EndState,
    destination: EndState | None,
    handed_over: bool,
    stranded: bool = False,
    started: bool = False,
) -> Restored:
    # a source that keeps its guest may have been paused on purpose
    ran = handed_over or source.run_state in ("", "running", "postmigrate")
    found = Whereabouts(source, destination, handed_over, ran)
    guest = found.sentence()
    if destination is None and source.run_state == "inmigrate":
        guest = "this QEMU waits for a guest"
    if stranded:
        guest += "; pagethrift restore does it with --start"
    in_doubt = destination is not None and not found.at_one_end
    return Restored(tuple(put_back.found), put_back.values, source, destination, guest, in_doubt, started)


async def _connected(stack: AsyncExitStack, path: str, role: str) -> QmpMonitor:
    monitor = await QmpMonitor.connect(path, role)
    stack.push_async_callback(monitor.close)
    return monitor


async def _put_back(monitor: QmpMonitor, put_back: _Found) -> None:
    """Restore one QEMU's settings. Raises QmpError."""
    if monitor.role == "source" and (await monitor.query_migrate()).status not in OVER:
        raise QmpError(f"source {monitor.path}: a migration is running; wait for it, or cancel it")
    settings = await BorrowedSettings.of(monitor)
    values = settings.changed()
    if failure := await settings.restore():
        raise QmpError(failure)
    if settings.found:
        put_back.found.append(settings.found)
        put_back.values[monitor.role] = values


async def _handed_over(source: QmpMonitor) -> bool:
    """Whether the source has sent its whole guest; one that has received a guest says "completed", too."""
    info = await source.query_migrate()
    return info.status == "completed" and info.total_bytes > 0


async def _loaded(destination: QmpMonitor) -> bool:
    """Whether this QEMU has loaded a guest to its end; wait while it does. Raises QmpError."""
    deadline_s = time.monotonic() + LOADED_S
    while await destination.query_status() == "inmigrate" and time.monotonic() < deadline_s:
        await asyncio.sleep(0.05)
    info = await destination.query_migrate()
    return info.status == "completed" and not info.total_bytes
