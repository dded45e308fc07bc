"""Steering what others begin: held from the first pass on, let go, and never aborted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pagethrift.errors import VirtError
from pagethrift.live import chosen
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.result import Outcome
from pagethrift.virt.attach import LOOK_S, AttachOptions, Steered, _meet, attach
from tests.unit.virt.fakes import SOURCE, FakeDomain, FakeLibvirt, FakeRelay, LibvirtError, moves
from tests.unit.virt.test_migrate import InRound, downtimes


def steered(
    world: FakeLibvirt,
    monkeypatch: pytest.MonkeyPatch,
    round_: int = 2,
    meanwhile: Callable[[FakeLibvirt], None] = lambda _: None,
    planner: InRound | None = None,
) -> tuple[list[Steered], FakeRelay]:
    """Let another client migrate the domain as soon as the relay listens."""
    relay, ended = FakeRelay(), list[Steered]()
    loops: list[asyncio.AbstractEventLoop] = []
    monkeypatch.setattr(chosen, "Planner", lambda _: planner or InRound(round_))

    def other_client() -> None:
        loops[0].call_soon_threadsafe(relay.hear)
        try:
            FakeDomain(world, SOURCE).migrateToURI3("qemu+tcp://hostb/system", {}, 3)
        except LibvirtError:
            return

    def waiting() -> None:
        threading.Thread(target=other_client, daemon=True).start()
        threading.Thread(target=meanwhile, args=(world,), daemon=True).start()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        options = AttachOptions("127.0.0.1:49152", "hostb:49152", once=True)
        async with asyncio.timeout(20.0):
            await attach(options, waiting, ended=ended.append, libvirt=world, start_relay=relay.start)

    asyncio.run(run())
    return ended, relay


def test_another_clients_migration_is_held_told_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeLibvirt(moves)
    ended, relay = steered(world, monkeypatch)
    assert downtimes(world) == [1, 2_000_000]
    assert relay.told == [1, 2, "go"]
    assert relay.closed
    (one,) = ended
    assert (one.domain, one.result.outcome) == ("g", Outcome.COMPLETED)
    assert one.result.switchover_reason == "it is time, and libvirt takes 72 ms"
    assert ("abort",) not in world.calls


def test_a_downtime_that_the_other_client_sets_is_put_back_and_held_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Nova does with its steps; its migration then fails."""

    def step(world: FakeLibvirt) -> None:
        waited = threading.Event()
        waited.wait(0.6)
        world.downtime_ms = 50

    def breaks(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        threading.Event().wait(1.8)
        raise LibvirtError("operation failed: migration failed")

    world = FakeLibvirt(breaks)
    (one,), _ = steered(world, monkeypatch, 99, step)
    assert downtimes(world) == [1, 1, 50]
    assert one.result.outcome is Outcome.FAILED
    assert "has ended without success; it is running there" in one.result.error


def test_when_steering_fails_the_other_clients_downtime_is_given_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its migration goes on, and must be able to end."""
    seen: list[int] = []

    def ends_later(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        world.begin_pass(2, 400)
        threading.Event().wait(1.5)
        seen.append(world.downtime_ms)
        moves(world)

    class Broken(InRound):
        def decide(self, facts: StopFacts) -> StopDecision:
            raise VirtError("the planner has failed")

    world = FakeLibvirt(ends_later)
    (one,), _ = steered(world, monkeypatch, 2, planner=Broken(2))
    assert seen == [300]
    assert one.result is not None


class Begun:
    """One of several domains that an active list has."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.moves = True

    async def migrates(self) -> bool:
        return self.moves


def test_of_two_that_begin_together_none_is_taken_for_the_other() -> None:
    one, other = Begun("1"), Begun("2")

    async def active() -> list[Begun]:
        return [one, other]

    async def run() -> tuple[bool, Any]:
        begun: asyncio.Queue[str] = asyncio.Queue()
        for each in (one, other):
            begun.put_nowait(each.uuid)
        relay = SimpleNamespace(failed=False, ended=False, status=SimpleNamespace(in_bytes=1))
        source: Any = SimpleNamespace(active=active)
        meeting = asyncio.create_task(_meet(source, cast(Any, relay), begun, asyncio.Event()))
        await asyncio.sleep(3 * LOOK_S)
        undecided = not meeting.done()
        other.moves = False
        return undecided, await asyncio.wait_for(meeting, 10)

    undecided, met = asyncio.run(run())
    assert undecided
    assert met is one
