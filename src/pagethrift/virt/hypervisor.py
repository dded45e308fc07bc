"""One libvirt, and a domain of it: what a migration asks of them, with errors on one line."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as Xml
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pagethrift.errors import VirtError
from pagethrift.live.qmp import MigrateInfo
from pagethrift.virt.events import DomainEvent, Listener
from pagethrift.virt.library import in_thread

T = TypeVar("T")

KEEP_ALIVE_S, KEEP_ALIVES = 5, 5
"""a libvirtd that says nothing for so long counts as gone; one that restarts closes its sockets at once"""
ASK_S = 5.0
GONE, RUNNING, PAUSED, SHUT_OFF = "gone", "running", "paused", "shut off"
_STATES = {
    "RUNNING": RUNNING, "BLOCKED": RUNNING, "PAUSED": PAUSED, "SHUTOFF": SHUT_OFF,
    "SHUTDOWN": "being shut down", "CRASHED": "crashed", "PMSUSPENDED": "asleep",
}  # fmt: skip


class Hypervisor:
    """A connection to one libvirt; ``role`` ("source", "destination") opens its error lines."""

    def __init__(self, libvirt: Any, connection: Any, uri: str, role: str) -> None:
        self.uri = uri
        self.role = role
        self.libvirt = libvirt
        self.version = 0
        """of libvirt, as 9000000 for 9.0.0"""
        self.qemu_version = 0
        """of the QEMU that it starts unless a domain names another"""
        self._connection = connection
        self._listeners: list[Listener] = []

    @classmethod
    async def connect(cls, libvirt: Any, uri: str, role: str) -> Hypervisor:
        """Connect. Raises VirtError, also when this libvirt does not drive QEMU."""
        where = f"{role} libvirt {uri}"

        def work() -> Hypervisor:
            connection = libvirt.open(uri)
            with contextlib.suppress(libvirt.libvirtError):  # not over every transport
                connection.setKeepAlive(KEEP_ALIVE_S, KEEP_ALIVES)
            found = cls(libvirt, connection, uri, role)
            if connection.getType() != "QEMU":
                raise VirtError(f"{where}: it drives {connection.getType()}; pagethrift is for QEMU")
            found.version, found.qemu_version = connection.getLibVersion(), connection.getVersion()
            return found

        try:
            return await in_thread(work)
        except libvirt.libvirtError as error:
            raise VirtError(f"{where}: {said(error)}") from error

    async def domain(self, name: str) -> Domain:
        """Return a domain by its name, UUID or number. Raises VirtError."""
        return Domain(self, await self.ask(lambda: self._lookup(name)))

    async def active(self) -> list[Domain]:
        """Return every domain that runs. Raises VirtError."""
        flag = self.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        return [Domain(self, each) for each in await self.ask(lambda: self._connection.listAllDomains(flag))]

    async def state(self, uuid: str) -> str:
        """Return the state of the domain in one word or two; GONE: it is not known here. Raises VirtError."""
        try:
            return await self.ask(lambda: self._state(uuid), ASK_S)
        except VirtError as error:
            if _code(error) == self.libvirt.VIR_ERR_NO_DOMAIN:
                return GONE
            raise

    async def last_job(self, uuid: str) -> Mapping[str, Any]:
        """Return the statistics of the domain's last finished job; empty: there are none."""
        flag = self.libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED
        try:
            job = await self.ask(lambda: self._connection.lookupByUUIDString(uuid).jobStats(flag), ASK_S)
        except VirtError:
            return {}
        return dict(job)

    async def listen(
        self, domain: Domain | None, sink: Callable[[DomainEvent], None]
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """Call ``sink`` with every event of a domain, or of all of them; return what ends that.

        Raises VirtError.
        """
        handle = domain.handle if domain is not None else None
        listener = await self.ask(self._listener(handle, sink))
        self._listeners.append(listener)

        async def forget() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
                await in_thread(listener.close)

        return forget

    async def close(self) -> None:
        """Disconnect; whatever goes wrong with that is of no interest."""

        def work() -> None:
            for listener in self._listeners:
                listener.close()
            with contextlib.suppress(self.libvirt.libvirtError):
                self._connection.close()

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_S):
                await in_thread(work)

    async def ask(self, work: Callable[[], T], timeout_s: float | None = None) -> T:
        """Carry out a blocking call. Raises VirtError: libvirt's refusal, or no answer in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await in_thread(work)
        except self.libvirt.libvirtError as error:
            raise VirtError(f"{self.role} libvirt {self.uri}: {said(error)}") from error
        except TimeoutError as error:
            raise VirtError(
                f"{self.role} libvirt {self.uri}: no answer within {timeout_s:g} s; see whether it runs"
            ) from error

    def _lookup(self, name: str) -> Any:
        try:
            return self._connection.lookupByName(name)
        except self.libvirt.libvirtError:
            with contextlib.suppress(self.libvirt.libvirtError):
                return self._connection.lookupByUUIDString(name)
            with contextlib.suppress(self.libvirt.libvirtError, ValueError):
                return self._connection.lookupByID(int(name))
            raise

    def _state(self, uuid: str) -> str:
        number = self._connection.lookupByUUIDString(uuid).state()[0]
        for name, words in _STATES.items():
            if number == getattr(self.libvirt, f"VIR_DOMAIN_{name}"):
                return words
        return "in no state"

    def _listener(self, handle: Any, sink: Callable[[DomainEvent], None]) -> Callable[[], Listener]:
        loop = asyncio.get_running_loop()
        return lambda: Listener(self.libvirt, self._connection, handle, sink, loop)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a domain is."""

    machine: str
    accelerator: str
    """kvm or tcg"""
    memory_bytes: int


class Domain:
    """A domain at one libvirt."""

    def __init__(self, hypervisor: Hypervisor, handle: Any) -> None:
        self.hypervisor = hypervisor
        self.handle = handle
        self.name = str(handle.name())
        self.uuid = str(handle.UUIDString())
        self._ask = hypervisor.ask

    async def identity(self) -> Identity:
        """Raises VirtError."""
        tree = Xml.fromstring(await self._ask(lambda: self.handle.XMLDesc(0)))
        kind = tree.find("os/type")
        return Identity(
            machine=kind.get("machine", "") if kind is not None else "",
            accelerator="kvm" if tree.get("type") == "kvm" else "tcg",
            memory_bytes=int((await self._ask(self.handle.info))[1]) << 10,
        )

    async def busy(self) -> bool:
        """Whether a job runs. Raises VirtError."""
        return bool((await self._ask(self.handle.jobInfo))[0] != self.hypervisor.libvirt.VIR_DOMAIN_JOB_NONE)

    async def once_more(self, limit_ms: int) -> VirtError | None:
        """Set the downtime over a new connection, where the domain still runs; return why that failed."""
        ours = self.hypervisor
        try:
            again = await Hypervisor.connect(ours.libvirt, ours.uri, ours.role)
        except VirtError as error:
            return error
        try:
            if await again.state(self.uuid) not in (GONE, SHUT_OFF):
                await (await again.domain(self.uuid)).set_downtime_ms(limit_ms)
        except VirtError as error:
            return error
        finally:
            await again.close()
        return None

    async def migrates(self) -> bool:
        """Whether this domain is being migrated away. Raises VirtError."""
        return bool(await self._operation() == self.hypervisor.libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)

    async def _operation(self) -> int | None:
        found = (await self._ask(self.handle.jobStats)).get("operation")
        return int(found) if found is not None else None

    async def counters(self) -> MigrateInfo | None:
        """Return QEMU's counters as libvirt passes them on; None while no migration has any.

        Blocks as long as QEMU is busy. Raises VirtError.
        """
        job = await self._ask(self.handle.jobStats)
        return counters_of(job)

    async def downtime_ms(self) -> int:
        """Return the downtime that QEMU may take. Raises VirtError."""
        return int(await self._ask(self.handle.migrateGetMaxDowntime))

    async def set_downtime_ms(self, limit_ms: int) -> None:
        """Set the downtime that QEMU may take, also while it migrates. Raises VirtError."""
        await self._ask(lambda: self.handle.migrateSetMaxDowntime(limit_ms))

    async def speed_mib(self) -> int:
        """Return at how many MiB/s QEMU may send. Raises VirtError."""
        return int(await self._ask(self.handle.migrateGetMaxSpeed))

    async def set_speed_mib(self, speed_mib: int) -> None:
        """Set it, also while QEMU migrates. Raises VirtError."""
        await self._ask(lambda: self.handle.migrateSetMaxSpeed(speed_mib))

    async def migrate(self, uri: str, parameters: Mapping[str, Any], flags: int) -> None:
        """Migrate peer to peer; return when the domain runs at the destination. Raises VirtError."""
        await self._ask(lambda: self.handle.migrateToURI3(uri, dict(parameters), flags))

    async def dump(self, path: str) -> None:
        """Write the running domain's migration stream to a file; return at the end. Raises VirtError."""
        flag = self.hypervisor.libvirt.VIR_DUMP_LIVE
        await self._ask(lambda: self.handle.coreDump(path, flag))

    async def dumps(self) -> bool:
        """Whether the job that runs is a core dump. Raises VirtError."""
        return bool(await self._operation() == self.hypervisor.libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP)

    async def dump_counters(self) -> MigrateInfo | None:
        """Return QEMU's counters of a core dump; None while there is none. Raises VirtError."""
        job = await self._ask(self.handle.jobStats)
        if job.get("operation") != self.hypervisor.libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP:
            return None
        return counters_of(job)

    async def paused_by_dump(self) -> bool:
        """Whether the domain is paused, and neither a user nor a disk has done it. Raises VirtError."""
        known = self.hypervisor.libvirt
        state, reason = await self._ask(self.handle.state)
        dumped = known.VIR_DOMAIN_PAUSED_UNKNOWN, known.VIR_DOMAIN_PAUSED_DUMP
        return bool(state == known.VIR_DOMAIN_PAUSED and reason in dumped)

    async def resume(self) -> None:
        """Let a paused domain run on. Raises VirtError."""
        await self._ask(self.handle.resume)

    async def abort(self, timeout_s: float) -> None:
        """Abort the domain's job. Raises VirtError."""
        await self._ask(self.handle.abortJob, timeout_s)


def counters_of(job: Mapping[str, Any], finished: bool = False) -> MigrateInfo | None:
    """Return QEMU's counters out of libvirt's job statistics; None while they have none.

    The downtime of a job that is not ``finished`` is only what QEMU expects.
    """
    if not job.get("memory_total"):
        return None
    downtime_ms = job.get("downtime") if finished else None
    return MigrateInfo(
        downtime_s=downtime_ms / 1000 if downtime_ms is not None else None,
        remaining_bytes=job.get("memory_remaining", 0),
        transferred_bytes=job.get("memory_processed", 0),
        total_bytes=job["memory_total"],
        normal_pages=job.get("memory_normal", 0),
        zero_pages=job.get("memory_constant", 0),
        dirty_sync_count=job.get("memory_iteration", 0),
        link_bps=float(job.get("memory_bps", 0)),
        page_bytes=job.get("memory_page_size", 0) or 4096,
    )


def version_text(number: int) -> str:
    """Return libvirt's way to write a version, 9000000, as people do: 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def said(error: Any) -> str:
    """Return what libvirt says, on one line."""
    return " ".join(str(error.get_error_message() or error).split())


def aborted(error: VirtError, libvirt: Any) -> bool:
    """Whether this is libvirt's word for a job that a client cancelled."""
    return bool(_code(error) == libvirt.VIR_ERR_OPERATION_ABORTED)


def _code(error: VirtError) -> int | None:
    cause = error.__cause__
    get = getattr(cause, "get_error_code", None)
    return int(get()) if get is not None else None
