"""A live dump of a domain, however it ends: the pipe is closed, the downtime is back, the guest runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pagethrift.errors import UsageError, VirtError
from pagethrift.virt import dry_run
from pagethrift.virt.dry_run import DomainGuest
from tests.unit.virt.fakes import PAUSED, RUNNING, SOURCE, FakeLibvirt, LibvirtError

WAIT_S = 20.0


@dataclass
class Seen:
    """What a recorder would have heard."""

    passes: list[int] = field(default_factory=list)
    stops: int = 0

    def stop(self) -> None:
        self.stops += 1


def dumps(world: FakeLibvirt) -> None:
    """QEMU writes until its job is aborted or nobody reads any more."""
    world.begin_pass(1, 500)
    world.job["operation"] = world.VIR_DOMAIN_JOB_OPERATION_DUMP
    with open(world.dump_path, "wb", buffering=0) as file:
        while not world.aborted.is_set():
            try:
                file.write(bytes(1 << 16))
            except BrokenPipeError:
                break
    raise LibvirtError("operation aborted: job 'domain core dump' canceled by client", 78)


def stops(world: FakeLibvirt) -> None:
    """QEMU finds the guest idle, stops it and writes the rest; libvirt lets it run on."""
    world.begin_pass(1, 500)
    world.job["operation"] = world.VIR_DOMAIN_JOB_OPERATION_DUMP
    with open(world.dump_path, "wb", buffering=0) as file:
        world.states[SOURCE] = PAUSED
        world.lifecycle(SOURCE, world.VIR_DOMAIN_EVENT_SUSPENDED, 0)
        file.write(bytes(3 << 20))
    world.states[SOURCE] = RUNNING


def watched(
    monkeypatch: pytest.MonkeyPatch, play: Callable[[FakeLibvirt], None],
    meanwhile: Callable[[FakeLibvirt], None] = lambda _: None, seconds: float = 0.3,
) -> tuple[FakeLibvirt, Seen, str]:  # fmt: skip
    world, seen, said = FakeLibvirt(play), Seen(), [""]
    monkeypatch.setattr(dry_run, "load", lambda: world)

    async def run() -> None:
        async with DomainGuest("g", SOURCE).dry_run() as it:
            await it.begin(lambda number, _: seen.passes.append(number), seen.stop)
            await asyncio.sleep(seconds)
            meanwhile(world)
            await it.counters()
            said[0] = await it.end()
            assert await it.end() == ""

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(asyncio.wait_for(run(), WAIT_S))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, "the pipe is closed"
    return world, seen, said[0]


def names(world: FakeLibvirt) -> list[str]:
    return [call[0] for call in world.calls]


def test_it_is_aborted_and_the_downtime_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world, seen, said = watched(monkeypatch, dumps)
    assert said == ""
    assert seen == Seen([1], 0)
    assert names(world) == ["downtime", "dump", "abort", "downtime"]
    assert world.downtime_ms == 300


def test_a_guest_that_qemu_stops_is_read_to_the_end_and_not_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    world, seen, said = watched(monkeypatch, stops)
    assert said == ""
    assert seen.stops == 1
    assert "abort" not in names(world)
    assert world.states[SOURCE] == RUNNING


def test_a_guest_that_a_failed_dump_leaves_paused_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(world: FakeLibvirt) -> None:
        try:
            dumps(world)
        finally:
            world.states[SOURCE], world.paused_reason = PAUSED, world.VIR_DOMAIN_PAUSED_UNKNOWN

    world, _, said = watched(monkeypatch, fails)
    assert said == "the dump had left domain g paused; it was resumed"
    assert names(world)[-1] == "resume"


def test_a_guest_that_somebody_suspends_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "RUNS_S", 0.1)

    def suspends(world: FakeLibvirt) -> None:
        world.states[SOURCE], world.paused_reason = PAUSED, world.VIR_DOMAIN_PAUSED_USER

    world, _, said = watched(monkeypatch, dumps, suspends)
    assert "resume" not in names(world)
    assert said == "domain g ran before and is paused now; see why"


def test_another_clients_job_is_not_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dump waits for the job of somebody else, and finds nobody at the pipe when its turn comes."""
    over = threading.Event()
    paths: list[bool] = []

    def waits(world: FakeLibvirt) -> None:
        world.job = {"type": 2, "operation": world.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, "memory_total": 1}
        over.wait(5.0)
        paths.append(os.path.exists(world.dump_path))
        raise LibvirtError("Failed to open file: No such file or directory")

    monkeypatch.setattr(dry_run, "END_S", 0.5)
    world, _, _ = watched(monkeypatch, waits, lambda _: threading.Timer(1.0, over.set).start())
    over.wait(5.0)
    assert "abort" not in names(world)
    assert world.downtime_ms == 300


def test_a_libvirt_that_refuses_the_dump_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(world: FakeLibvirt) -> None:
        raise LibvirtError("this domain has a host device")

    with pytest.raises(VirtError, match="has a host device"):
        watched(monkeypatch, refuses)


def test_a_domain_of_another_host_is_refused() -> None:
    async def run() -> None:
        async with DomainGuest("g", "qemu+ssh://h/system").dry_run():
            pass

    with pytest.raises(UsageError, match="a domain is watched on its own host"):
        asyncio.run(run())
