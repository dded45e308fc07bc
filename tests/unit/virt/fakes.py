"""A small libvirt that replays what a real one did, and a relay without a process.

The statistics and the order of events are those of libvirt 9.0 and 11.3; tests/libvirt has the real ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import PageCounters

UUID = "11111111-2222-4333-8444-555555555555"
SOURCE, DESTINATION = "qemu:///system", "qemu+tcp://hostb/system"
RUNNING, PAUSED, SHUT_OFF = 1, 3, 5
LIBVIRT_9_0, LIBVIRT_11_3 = 9_000_000, 11_003_000
PAGES = 65536
WAIT_S = 10.0


class LibvirtError(Exception):
    """As ``libvirt.libvirtError``."""

    def __init__(self, message: str, code: int = 38) -> None:
        super().__init__(message)
        self._code = code

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)


class FakeLibvirt:
    """As the module ``libvirt``, with one domain; ``play`` is what happens during its migration."""

    libvirtError = LibvirtError  # noqa: N815

    VIR_DOMAIN_NOSTATE, VIR_DOMAIN_RUNNING, VIR_DOMAIN_BLOCKED, VIR_DOMAIN_PAUSED = 0, 1, 2, 3
    VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_CRASHED, VIR_DOMAIN_PMSUSPENDED = 4, 5, 6, 7
    VIR_DOMAIN_EVENT_ID_LIFECYCLE = 0
    VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED = 20, 21
    VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_STOPPED = 3, 4, 5
    VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED = VIR_DOMAIN_EVENT_RESUMED_MIGRATED = 1
    VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_DESTROYED = 0, 1
    VIR_DOMAIN_EVENT_STOPPED_CRASHED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED = 2, 3
    VIR_DOMAIN_EVENT_STOPPED_SAVED, VIR_DOMAIN_EVENT_STOPPED_FAILED = 4, 5
    VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT = 6
    VIR_DOMAIN_JOB_NONE, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, VIR_DOMAIN_JOB_STATS_COMPLETED = 0, 5, 1
    VIR_DOMAIN_JOB_OPERATION_DUMP, VIR_DUMP_LIVE = 8, 2
    VIR_DOMAIN_PAUSED_UNKNOWN, VIR_DOMAIN_PAUSED_USER, VIR_DOMAIN_PAUSED_DUMP = 0, 1, 4
    VIR_MIGRATE_LIVE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_UNDEFINE_SOURCE = (
        1,
        2,
        8,
        16,
    )
    VIR_MIGRATE_PAUSED, VIR_MIGRATE_UNSAFE, VIR_MIGRATE_ABORT_ON_ERROR, VIR_MIGRATE_PARALLEL = (
        32,
        512,
        4096,
        131072,
    )
    VIR_MIGRATE_PARAM_URI, VIR_MIGRATE_PARAM_LISTEN_ADDRESS = "migrate_uri", "listen_address"
    VIR_MIGRATE_PARAM_BANDWIDTH, VIR_MIGRATE_PARAM_COMPRESSION = "bandwidth", "compression"
    VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS = "parallel.connections"
    VIR_ERR_NO_DOMAIN, VIR_ERR_OPERATION_INVALID, VIR_ERR_OPERATION_ABORTED = 42, 55, 78
    VIR_CONNECT_LIST_DOMAINS_ACTIVE = 1

    def __init__(self, play: Callable[[FakeLibvirt], None], version: int = LIBVIRT_9_0) -> None:
        self.play = play
        self.version = version
        self.qemu_version = 10_000_002
        self.states: dict[str, int | None] = {SOURCE: RUNNING, DESTINATION: None}
        """None: the domain is not known there"""
        self.refused: set[str] = set()
        """URIs that nobody can connect to"""
        self.paused_reason = 0
        self.downtime_ms = 300
        self.speed_mib = 8796093022207
        self.memory_kib = 256 << 10
        self.calls: list[tuple[Any, ...]] = []
        """("downtime", 1), ("speed", 64), ("migrate", uri, parameters, flags), ("abort",)"""
        self.job: dict[str, Any] = {}
        self.gone = threading.Event()
        """the source was let go"""
        self.aborted = threading.Event()
        self.dump_path = ""
        self.broken = False
        """connections that are open fail; new ones do not"""
        self._connections: list[FakeConnection] = []

    def open(self, uri: str) -> FakeConnection:
        if uri in self.refused:
            raise LibvirtError(f"unable to connect to server at {uri!r}")
        self.broken = False
        connection = FakeConnection(self, uri)
        self._connections.append(connection)
        return connection

    def fire(self, uri: str, which: int, *what: Any) -> None:
        """Tell everybody who listens at a libvirt."""
        for connection in self._connections:
            if connection.uri == uri:
                for heard in connection.heard.get(which, ()):
                    heard(connection, FakeDomain(self, uri), *what, None)

    def begin_pass(self, number: int, remaining_pages: int) -> None:
        """QEMU begins a pass."""
        self.job = {
            "type": 2, "operation": 5, "time_elapsed": 100 * number, "memory_total": PAGES * 4096,
            "memory_processed": number * 9_000_000, "memory_remaining": remaining_pages * 4096,
            "memory_constant": 60000, "memory_normal": 2000 * number, "memory_normal_bytes": 8192000 * number,
            "memory_iteration": number, "memory_page_size": 4096, "memory_bps": 55_000_000, "downtime": 300,
        }  # fmt: skip
        self.fire(SOURCE, self.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, number)

    def lifecycle(self, uri: str, event: int, detail: int) -> None:
        self.fire(uri, self.VIR_DOMAIN_EVENT_ID_LIFECYCLE, event, detail)

    def wait_gone(self) -> None:
        """Return when the source is let go; raise as libvirt does for a job that was aborted."""
        deadline_s = time.monotonic() + WAIT_S
        while not self.gone.is_set():
            if self.aborted.is_set():
                raise LibvirtError("operation aborted: migration out job: canceled by client", 78)
            if time.monotonic() > deadline_s:
                raise LibvirtError("the source was never let go")
            time.sleep(0.005)

    def set_downtime(self, limit_ms: int) -> None:
        self.calls.append(("downtime", limit_ms))
        self.downtime_ms = limit_ms
        if limit_ms == 2_000_000:
            self.gone.set()


class FakeConnection:
    """As ``libvirt.virConnect``."""

    def __init__(self, world: FakeLibvirt, uri: str) -> None:
        self.world = world
        self.uri = uri
        self.heard: dict[int, list[Callable[..., None]]] = {}

    def getType(self) -> str:  # noqa: N802
        return "QEMU"

    def getLibVersion(self) -> int:  # noqa: N802
        return self.world.version

    def getVersion(self) -> int:  # noqa: N802
        return self.world.qemu_version

    def setKeepAlive(self, interval: int, count: int) -> None:  # noqa: N802
        assert interval > 0
        assert count > 0

    def lookupByName(self, name: str) -> FakeDomain:  # noqa: N802
        if name != "g":
            raise LibvirtError(f"Domain not found: no domain with matching name {name!r}", 42)
        return self._found()

    def lookupByUUIDString(self, uuid: str) -> FakeDomain:  # noqa: N802
        if uuid != UUID:
            raise LibvirtError(f"Domain not found: no domain with matching uuid {uuid!r}", 42)
        return self._found()

    def lookupByID(self, number: int) -> FakeDomain:  # noqa: N802
        raise LibvirtError(f"Domain not found: no domain with matching id {number}", 42)

    def listAllDomains(self, flags: int) -> list[FakeDomain]:  # noqa: N802
        assert flags == 1
        active = self.world.states[self.uri] in (RUNNING, PAUSED)
        return [FakeDomain(self.world, self.uri)] if active else []

    def domainEventRegisterAny(  # noqa: N802
        self, domain: Any, which: int, heard: Callable[..., None], opaque: Any
    ) -> int:
        assert domain is None or domain.uri == self.uri
        self.heard.setdefault(which, []).append(heard)
        return which

    def domainEventDeregisterAny(self, number: int) -> None:  # noqa: N802
        self.heard.pop(number, None)

    def close(self) -> None:
        self.heard.clear()

    def _found(self) -> FakeDomain:
        if self.world.broken:
            raise LibvirtError("Cannot write data: Broken pipe")
        if self.world.states[self.uri] is None:
            raise LibvirtError(f"Domain not found: no domain with matching uuid {UUID!r}", 42)
        return FakeDomain(self.world, self.uri)


class FakeDomain:
    """As ``libvirt.virDomain``."""

    def __init__(self, world: FakeLibvirt, uri: str) -> None:
        self.world = world
        self.uri = uri

    def name(self) -> str:
        return "g"

    def UUIDString(self) -> str:  # noqa: N802
        return UUID

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        return "<domain type='qemu'><os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os></domain>"

    def info(self) -> list[int]:
        return [1, self.world.memory_kib, self.world.memory_kib, 1, 0]

    def state(self) -> list[int]:
        number = self.world.states[self.uri]
        assert number is not None
        return [number, self.world.paused_reason]

    def jobInfo(self) -> list[int]:  # noqa: N802
        return [int(self.world.job.get("type", 0))]

    def jobStats(self, flags: int = 0) -> dict[str, Any]:  # noqa: N802
        return dict(self.world.job)

    def migrateGetMaxDowntime(self) -> int:  # noqa: N802
        return self.world.downtime_ms

    def migrateSetMaxDowntime(self, limit_ms: int) -> None:  # noqa: N802
        if self.world.broken:
            raise LibvirtError("Cannot write data: Broken pipe")
        if self.world.states[SOURCE] not in (RUNNING, PAUSED):
            raise LibvirtError("Requested operation is not valid: domain is not running", 55)
        self.world.set_downtime(limit_ms)

    def migrateGetMaxSpeed(self) -> int:  # noqa: N802
        return self.world.speed_mib

    def migrateSetMaxSpeed(self, speed_mib: int) -> None:  # noqa: N802
        self.world.calls.append(("speed", speed_mib))

    def migrateToURI3(self, uri: str, parameters: dict[str, Any], flags: int) -> None:  # noqa: N802
        self.world.calls.append(("migrate", uri, parameters, flags))
        self._play()

    def _play(self) -> None:
        try:
            self.world.play(self.world)
        finally:
            self.world.job = {}

    def coreDump(self, path: str, flags: int) -> None:  # noqa: N802
        self.world.calls.append(("dump", path, flags))
        self.world.dump_path = path
        self._play()

    def resume(self) -> None:
        self.world.calls.append(("resume",))
        self.world.states[SOURCE] = RUNNING

    def abortJob(self) -> None:  # noqa: N802
        self.world.calls.append(("abort",))
        self.world.aborted.set()


def moves(world: FakeLibvirt) -> None:
    """The domain migrates in three passes, and moves once it is let go."""
    for number, remaining_pages in ((1, PAGES), (2, 5000), (3, 400)):
        world.begin_pass(number, remaining_pages)
        time.sleep(0.12)
    world.wait_gone()
    world.lifecycle(SOURCE, world.VIR_DOMAIN_EVENT_SUSPENDED, world.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
    time.sleep(0.05)
    world.states[DESTINATION] = RUNNING
    world.lifecycle(DESTINATION, world.VIR_DOMAIN_EVENT_RESUMED, world.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
    done = {**world.job, "success": True, "downtime": 61, "memory_processed": 40_000_000}
    world.fire(SOURCE, world.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, done)
    world.states[SOURCE] = None
    world.lifecycle(SOURCE, world.VIR_DOMAIN_EVENT_STOPPED, world.VIR_DOMAIN_EVENT_STOPPED_MIGRATED)


def never_fits(world: FakeLibvirt) -> None:
    """The domain goes on migrating until its job is aborted, or it is let go after all."""
    for number in (1, 2, 3):
        world.begin_pass(number, 5000)
        time.sleep(0.03)
    world.wait_gone()


class FakeRelay:
    """What `RelayProcess` is to a driver; ``argv`` is what it was started with."""

    def __init__(self, error: PagethriftError | None = None) -> None:
        self.argv: Sequence[str] = ()
        self.told: list[object] = []
        """round numbers, and "go" """
        self.closed = False
        self.error = error
        """the relay fails at the third round"""
        self.failed = False
        self.ended = False
        self.status = RelayStatus()
        self._on_news: Callable[[RelayStatus], None] = lambda _: None

    async def start(self, argv: Sequence[str], on_news: Callable[[RelayStatus], None]) -> Any:
        self.argv, self._on_news = argv, on_news
        return self

    def tell_round(self, number: int) -> None:
        self.told.append(number)
        self._say()
        if self.error is not None and number == 2:
            self.failed = True
            self._say()

    def tell_go(self) -> None:
        self.told.append("go")

    async def refresh(self) -> None:
        self._say()

    async def wait_last_word(self, timeout_s: float) -> bool:
        return self.failed

    async def failure(self) -> PagethriftError:
        return self.error or LinkError("relay: nothing is wrong with it")

    async def wait_done(self) -> bool:
        return not self.failed

    async def close(self) -> None:
        self.closed = True

    def hear(self) -> None:
        """QEMU's first bytes come."""
        self._say()

    def _say(self) -> None:
        pages = PageCounters(full=3000, delta=200, zero=60000, skipped=900)
        self.status = RelayStatus(
            RelayState.RAM, now_s=time.monotonic(), in_bytes=20_000_000, out_bytes=13_000_000, link_bps=25e6,
            pages=pages, first_round_bytes=12_000_000, retransferred_bytes=1_000_000,
            retransferred_pages=1100,
        )  # fmt: skip
        self._on_news(self.status)
