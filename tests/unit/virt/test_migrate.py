"""A migration under libvirt: held, told, let go, given back, and asked for; tests/libvirt has real ones."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import (
    CancelledElsewhere,
    GuestError,
    LinkError,
    PagethriftError,
    SourceEnded,
    UsageError,
    VirtError,
)
from pagethrift.live.watch import Progress
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.virt.migrate import Migrated, migrate
from pagethrift.virt.options import VirtOptions
from pagethrift.virt.switchover import LIBVIRT_S, UNREAD_BYTES
from tests.unit.virt.fakes import (
    DESTINATION,
    LIBVIRT_11_3,
    PAUSED,
    RUNNING,
    SOURCE,
    FakeLibvirt,
    FakeRelay,
    LibvirtError,
    moves,
    never_fits,
)


class InRound:
    """Switches over in a round."""

    def __init__(self, number: int) -> None:
        self.number = number

    def decide(self, facts: StopFacts) -> StopDecision:
        if facts.round < self.number:
            return StopDecision(StopAction.CONTINUE)
        return StopDecision(StopAction.SWITCH_OVER, "it is time", 0.1)


def run(
    world: FakeLibvirt, relay: FakeRelay | None = None, round_: int = 2, **options: Any
) -> tuple[Migrated, list[Progress]]:
    shown: list[Progress] = []
    relay = relay or FakeRelay()
    asked = VirtOptions("g", DESTINATION, **options)
    done = asyncio.run(migrate(asked, shown.append, InRound(round_), world, relay.start))
    return done, shown


def failed(
    kind: type[PagethriftError], world: FakeLibvirt, relay: FakeRelay | None = None, **options: Any
) -> str:
    with pytest.raises(kind) as caught:
        run(world, relay, **{"round_": 99} | options)
    assert type(caught.value) is kind
    return str(caught.value)


def downtimes(world: FakeLibvirt) -> list[int]:
    return [call[1] for call in world.calls if call[0] == "downtime"]


def test_is_held_before_the_start_and_let_go_by_the_planner() -> None:
    world, relay = FakeLibvirt(moves), FakeRelay()
    done, shown = run(world, relay)
    assert [call[0] for call in world.calls if call[0] != "speed"] == ["downtime", "migrate", "downtime"]
    assert downtimes(world) == [1, 2_000_000]
    assert relay.told == [1, 2, "go"]
    assert relay.closed
    assert done.result.converged
    assert done.result.switchover_reason == "it is time, and libvirt takes 72 ms"
    assert done.result.predicted_downtime_s == pytest.approx(0.1 + LIBVIRT_S + UNREAD_BYTES / 25e6)
    assert done.result.warnings == ()
    assert done.where == f"domain g runs at the destination ({DESTINATION})"
    assert {look.phase for look in shown} <= {"setup", "active", "completed"}
    assert shown[-1].phase == "completed"


def test_the_record_has_the_links_bytes_beside_libvirts() -> None:
    done, _ = run(FakeLibvirt(moves))
    result = done.result
    assert result.transferred_bytes == 13_000_000
    assert result.driver_job["memory_processed"] == 40_000_000
    assert result.driver == "libvirt 9.0.0"
    assert (result.source_qemu, result.machine, result.accelerator) == ("10.0.2", "pc-i440fx-7.2", "tcg")
    assert result.qemu_downtime_s == 0.061
    assert result.downtime_s == pytest.approx(0.05, abs=0.04)
    assert [record.round for record in result.rounds] == [0, 1, 2]
    assert [record.dirty_pages for record in result.rounds] == [65536, 5000, 400]
    assert MigrationResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("version", [9_000_000, LIBVIRT_11_3])
def test_what_the_call_is_told(version: int) -> None:
    world, relay = FakeLibvirt(moves, version), FakeRelay()
    run(world, relay, listen_address="10.0.0.2", persistent=True, undefine_source=True, unsafe=True)
    ((_, uri, parameters, flags),) = [call for call in world.calls if call[0] == "migrate"]
    assert uri == DESTINATION
    listens = relay.argv[relay.argv.index("--listen") + 1]
    port = listens.rpartition(":")[2]
    assert listens.startswith("127.0.0.1:")
    assert relay.argv[relay.argv.index("--connect") + 1] == f"hostb:{port}"
    assert parameters.pop("bandwidth.avail.switchover", None) == (3 if version >= 11_000_000 else None)
    assert parameters == {"migrate_uri": f"tcp://{listens}", "listen_address": "10.0.0.2", "bandwidth": 64}
    assert flags == 1 | 2 | 8 | 16 | 512


def test_an_old_qemu_under_a_new_libvirt_knows_no_available_bandwidth() -> None:
    world = FakeLibvirt(moves, LIBVIRT_11_3)
    world.qemu_version = 7_002_022
    run(world)
    ((_, _, parameters, _),) = [call for call in world.calls if call[0] == "migrate"]
    assert "bandwidth.avail.switchover" not in parameters


def test_the_slow_start_of_a_small_guest_is_lifted_to_the_operators_speed() -> None:
    world = FakeLibvirt(moves)
    world.speed_mib = 100
    run(world)
    assert ("speed", 100) in world.calls
    world = FakeLibvirt(moves)
    world.memory_kib = 8 << 20
    run(world)
    assert not [call for call in world.calls if call[0] == "speed"]


def test_the_operators_downtime_is_put_back_when_libvirt_fails() -> None:
    def breaks(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        raise LibvirtError("operation failed: migration failed: Unable to write to socket: Broken pipe")

    world = FakeLibvirt(breaks)
    world.downtime_ms = 450
    line = failed(VirtError, world)
    assert "Unable to write to socket" in line
    assert f"domain g runs on at the source ({SOURCE})" in line
    assert downtimes(world) == [1, 450]


def test_a_relay_that_fails_says_why_and_the_operators_downtime_comes_back(tmp_path: Path) -> None:
    def breaks(world: FakeLibvirt) -> None:
        for number in (1, 2, 3):
            world.begin_pass(number, 500)
        time.sleep(0.2)
        raise LibvirtError("operation failed: job 'migration out' unexpectedly failed")

    world, out = FakeLibvirt(breaks), tmp_path / "r.json"
    line = failed(LinkError, world, FakeRelay(LinkError("relay: ended by SIGKILL")), result_path=out)
    assert line == f"relay: ended by SIGKILL; domain g runs on at the source ({SOURCE})"
    assert downtimes(world) == [1, 300]
    kept = MigrationResult.from_json(out.read_text())
    assert (kept.outcome, kept.error) == (Outcome.FAILED, line)


def test_who_aborts_it_elsewhere_is_not_us() -> None:
    def aborted(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        raise LibvirtError("operation aborted: migration out job: canceled by client", 78)

    world = FakeLibvirt(aborted)
    line = failed(CancelledElsewhere, world)
    assert line.startswith("domain g: cancelled by another client of libvirt; domain g runs on at the source")
    assert downtimes(world) == [1, 300]


def test_a_domain_that_ends_at_the_source_is_said() -> None:
    def powers_off(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        world.states[SOURCE] = None
        world.lifecycle(SOURCE, world.VIR_DOMAIN_EVENT_STOPPED, world.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
        raise LibvirtError("operation failed: domain is not running")

    line = failed(SourceEnded, FakeLibvirt(powers_off))
    assert line == "domain g: it ended at the source, its guest was shut down"


@pytest.mark.parametrize("option", ["timeout_s", "switchover_deadline_s"])
def test_what_takes_too_long_is_aborted(option: str) -> None:
    def stalls(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        while not world.aborted.is_set():
            time.sleep(0.01)
        world.gone.clear()
        world.wait_gone()

    world = FakeLibvirt(stalls)
    options: dict[str, Any] = {option: 0.3, "round_": 0}
    line = failed(LinkError, world, **options)
    assert ("--timeout" in line) == (option == "timeout_s")
    assert f"domain g runs on at the source ({SOURCE})" in line
    assert ("abort",) in world.calls
    assert downtimes(world)[-1] == 300


def test_force_after_lets_go_of_what_never_fits() -> None:
    def forced(world: FakeLibvirt) -> None:
        never_fits(world)
        world.states |= {SOURCE: None, DESTINATION: RUNNING}

    world = FakeLibvirt(forced)
    done, _ = run(world, round_=99, force_after_s=0.3)
    assert downtimes(world) == [1, 2_000_000]
    assert not done.result.converged
    assert done.result.forced_at_s == pytest.approx(0.35, abs=0.2)


def test_a_cancelled_task_aborts_the_job_and_gives_back() -> None:
    world = FakeLibvirt(never_fits)

    async def interrupted() -> str:
        relay = FakeRelay()
        task = asyncio.ensure_future(
            migrate(VirtOptions("g", DESTINATION), lambda _: None, InRound(99), world, relay.start)
        )
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return str(caught.value)

    assert asyncio.run(interrupted()) == f"domain g runs on at the source ({SOURCE})"
    assert world.calls[-2:] == [("abort",), ("downtime", 300)]


def test_a_domain_at_both_ends_or_at_none_is_an_emergency() -> None:
    def twice(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        world.states[DESTINATION] = RUNNING
        raise LibvirtError("the end of the world")

    def nowhere(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        world.states |= {SOURCE: PAUSED, DESTINATION: PAUSED}
        raise LibvirtError("the end of the world")

    for play, words in ((twice, "runs at BOTH ends"), (nowhere, "runs at neither end")):
        assert words in failed(GuestError, FakeLibvirt(play))


def test_a_destination_that_cannot_be_asked_is_said() -> None:
    world = FakeLibvirt(moves)
    world.refused.add(DESTINATION)
    done, _ = run(world)
    assert done.where.endswith("nobody could ask there")
    assert [line for line in done.result.warnings if "nobody here can ask the destination" in line]
    assert done.result.downtime_s is None


def test_downtimes_that_a_killed_pagethrift_left_are_not_the_operators() -> None:
    def breaks(world: FakeLibvirt) -> None:
        raise LibvirtError("internal error")

    world = FakeLibvirt(breaks)
    world.downtime_ms = 2_000_000
    failed(VirtError, world)
    assert downtimes(world) == [1, 300]


def test_the_operators_downtime_is_put_back_over_a_new_connection() -> None:
    """libvirtd was restarted during the migration, which ends it."""

    def restarts(world: FakeLibvirt) -> None:
        world.begin_pass(1, 500)
        world.broken = True
        raise LibvirtError("End of file while reading data: Input/output error")

    world = FakeLibvirt(restarts)
    line = failed(VirtError, world)
    assert f"domain g runs on at the source ({SOURCE})" in line
    assert downtimes(world) == [1, 300]


def test_refused_before_anything_moves() -> None:
    for change, words in (
        ({"domain": "h"}, "no domain with matching name 'h'"),
        ({"parallel": 2}, "--parallel needs zstd"),
    ):
        world = FakeLibvirt(moves)
        asked = VirtOptions(**{"domain": "g", "destination_uri": DESTINATION} | change)
        with pytest.raises((VirtError, UsageError), match=words):
            asyncio.run(migrate(asked, libvirt=world, start_relay=FakeRelay().start))
        assert world.calls == []
    world = FakeLibvirt(moves)
    world.job = {"type": 2}
    assert "a job runs" in failed(VirtError, world)
    world = FakeLibvirt(moves)
    world.states[SOURCE] = 5
    assert "it is shut off" in failed(VirtError, world)
    assert world.calls == []


def test_parallel_connections_are_compressed_ones() -> None:
    world, relay = FakeLibvirt(moves, LIBVIRT_11_3), FakeRelay()
    done, _ = run(world, relay, parallel=3)
    ((_, _, parameters, flags),) = [call for call in world.calls if call[0] == "migrate"]
    assert (parameters["parallel.connections"], parameters["compression"]) == (3, "zstd")
    assert flags & world.VIR_MIGRATE_PARALLEL
    assert relay.argv[relay.argv.index("--channels") + 1] == "3"
    assert done.result.channels == 3


def test_a_result_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done, _ = run(FakeLibvirt(moves), result_path=path)
    assert json.loads(path.read_text()) == json.loads(done.result.to_json())
