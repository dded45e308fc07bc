"""What a libvirt tells of a domain without being asked, as data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pagethrift.virt.library import tell


class EventKind(StrEnum):
    """The events that matter to a migration."""

    PASS = "pass"
    """QEMU begins a pass over its dirty bitmap; ``number`` is 1 for the first"""
    SWITCHOVER = "switchover"
    """the source's guest was stopped for the switchover"""
    SUSPENDED = "suspended"
    """the guest was stopped for another reason"""
    ARRIVED = "arrived"
    """the destination's guest runs"""
    RESUMED = "resumed"
    """the guest runs again, at the source"""
    MOVED = "moved"
    """the source's domain has ended because it runs elsewhere"""
    STOPPED = "stopped"
    """the domain has ended for another reason, in ``words``"""
    JOB_ENDED = "job ended"
    """a job has ended; ``data`` has its statistics"""


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """One event as it arrived."""

    kind: EventKind
    uuid: str
    now_s: float
    """CLOCK_MONOTONIC on arrival"""
    number: int = 0
    words: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


STOPPED_WORDS = {
    "SHUTDOWN": "its guest was shut down", "DESTROYED": "somebody destroyed it", "CRASHED": "it crashed",
    "SAVED": "it was saved", "FAILED": "its QEMU failed", "FROM_SNAPSHOT": "a snapshot took its place",
}  # fmt: skip


class Listener:
    """Hears the events of one connection; ``sink`` is called inside ``loop``.

    ``domain`` None: of every domain. Raises whatever the library raises.
    """

    def __init__(
        self,
        libvirt: Any,
        connection: Any,
        domain: Any | None,
        sink: Callable[[DomainEvent], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._libvirt = libvirt
        self._connection = connection
        self._sink = sink
        self._loop = loop
        self._ids = [
            connection.domainEventRegisterAny(domain, which, heard, None)
            for which, heard in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
                (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._on_iteration),
                (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._on_job_completed),
            )
        ]

    def close(self) -> None:
        """Hear no more; a connection that is gone has nothing to say either."""
        for number in self._ids:
            try:
                self._connection.domainEventDeregisterAny(number)
            except self._libvirt.libvirtError:
                return

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        known, words = self._libvirt, ""
        match event:
            case known.VIR_DOMAIN_EVENT_SUSPENDED:
                moving = detail == known.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED
                kind = EventKind.SWITCHOVER if moving else EventKind.SUSPENDED
            case known.VIR_DOMAIN_EVENT_RESUMED:
                arrived = detail == known.VIR_DOMAIN_EVENT_RESUMED_MIGRATED
                kind = EventKind.ARRIVED if arrived else EventKind.RESUMED
            case known.VIR_DOMAIN_EVENT_STOPPED:
                moved = detail == known.VIR_DOMAIN_EVENT_STOPPED_MIGRATED
                kind = EventKind.MOVED if moved else EventKind.STOPPED
                words = self._why_stopped(detail)
            case _:
                return
        self._hear(DomainEvent(kind, domain.UUIDString(), time.monotonic(), words=words))

    def _why_stopped(self, detail: int) -> str:
        for name, words in STOPPED_WORDS.items():
            if detail == getattr(self._libvirt, f"VIR_DOMAIN_EVENT_STOPPED_{name}"):
                return words
        return "libvirt does not say why"

    def _on_iteration(self, _connection: Any, domain: Any, iteration: int, _opaque: Any) -> None:
        self._hear(DomainEvent(EventKind.PASS, domain.UUIDString(), time.monotonic(), iteration))

    def _on_job_completed(self, _connection: Any, domain: Any, data: Any, _opaque: Any) -> None:
        self._hear(DomainEvent(EventKind.JOB_ENDED, domain.UUIDString(), time.monotonic(), data=dict(data)))

    def _hear(self, event: DomainEvent) -> None:
        tell(self._loop, lambda: self._sink(event))
