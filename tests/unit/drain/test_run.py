"""An evacuation with migrations that are played: who starts when, caps, the word to go, deadlines, Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.drain import run as run_module
from pagethrift.drain.forecasts import Known
from pagethrift.drain.places import Found as Place_
from pagethrift.drain.places import Place
from pagethrift.drain.run import Evacuation, Row
from pagethrift.drain.state import GuestState, Stage, State
from pagethrift.errors import UsageError
from pagethrift.evacuation.link import Links
from pagethrift.evacuation.outline import outline
from pagethrift.evacuation.plan import AtDeadline, Guest, Plan, Prestage, When
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import Outcome
from pagethrift.model.running import Running
from tests.unit.evacuation.guests import MB, costs


@dataclass
class Played:
    """One migration's process."""

    name: str
    arguments: Sequence[str]
    running: Running
    code: int | None = None
    told_to_end: bool = False
    pid: int = 1
    started: str = "1"

    def ended(self) -> int | None:
        return self.code

    def tell_to_end(self) -> None:
        self.told_to_end = True
        self.code = 130

    def last_line(self) -> str:
        return "its last words"


@dataclass
class World:
    """All that an evacuation sees, on a clock of its own: a second a tick."""

    plan: Plan
    now_s: float = 1000.0
    played: dict[str, Played] = field(default_factory=dict)
    changes: list[tuple[str, Change]] = field(default_factory=list)
    at: list[Callable[[], None]] = field(default_factory=list)
    """what happens, a tick each"""
    rows: list[list[Row]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    most_at_once: int = 0
    without_result: set[str] = field(default_factory=set)
    strangers: list[Any] = field(default_factory=list)
    """what another user's processes say of themselves"""

    def alive(self) -> list[str]:
        return [name for name, each in self.played.items() if each.code is None]

    def start(self, arguments: Sequence[str], log: Path) -> Played:
        id = next(each for each in arguments if each.startswith("--id=")).removeprefix("--id=")
        waits = "--wait-for-go" in arguments
        running = Running(
            id=id, state="active", waits_for_go=waits, downtime_limit_s=0.3, ram_bytes=100, link_bps=100 * MB
        )
        self.played[log.stem] = Played(log.stem, arguments, running)
        self.most_at_once = max(self.most_at_once, len(self.alive()))
        return self.played[log.stem]

    def near_end(self, *names: str) -> None:
        for name in names:
            each = self.played[name]
            each.running = replace(each.running, round=3, predicted_downtime_s=0.1)

    def end(self, *names: str, code: int = 0) -> None:
        for name in names:
            self.played[name].code = code

    def find_running(self) -> list[Any]:
        return [*(_Found(self.played[name].running) for name in self.alive()), *self.strangers]

    def result_of(self, path: Path, id: str) -> _Result | None:
        return None if path.stem in self.without_result else _Result()

    def change(self, found: Any, wanted: Change) -> Running:
        name = found.running.id.partition("-")[0]
        if self.played[name].running.switchover:
            raise UsageError("too late")
        self.changes.append((name, wanted))
        if wanted.go:
            self.played[name].running = replace(self.played[name].running, waits_for_go=False)
        return self.played[name].running

    async def find(self, guest: Guest) -> Place_:
        return Place_(self.places.get(guest.name, Place.SOURCE), "where it is")

    async def sleep(self, _: float) -> None:
        self.now_s += 1.0
        if not self.at:
            raise AssertionError(f"nothing ends it: {self.alive()}")
        self.at.pop(0)()


@dataclass
class _Found:
    running: Running
    is_ours: bool = True


@dataclass
class _Result:
    outcome: Outcome = Outcome.COMPLETED


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Evacuation, State, World]]:
    def begin(plan: Plan) -> tuple[Evacuation, State, World]:
        world = World(plan)
        monkeypatch.setattr(run_module, "Child", _Children(world))
        monkeypatch.setattr(run_module, "find_running", world.find_running)
        monkeypatch.setattr(run_module, "change", world.change)
        monkeypatch.setattr(run_module, "find", world.find)
        monkeypatch.setattr(run_module, "result_of", world.result_of)
        monkeypatch.setattr(run_module, "time", _Clock(world))
        monkeypatch.setattr(asyncio, "sleep", world.sleep)
        known = {each.name: Known(costs(1000), 1e9, ()) for each in plan.guests}
        made = outline(plan, {name: (each.costs, each.ram_bytes) for name, each in known.items()}, 100.0)
        state = State("/plan", 1000.0, str(tmp_path), None, {each.name: GuestState() for each in plan.guests})
        return Evacuation(plan, made, known, state, _File(), tmp_path), state, world  # type: ignore[arg-type]

    return begin


class _File:
    def write(self, state: State) -> None:
        state.to_json()


@dataclass
class _Children:
    world: World

    def start(self, arguments: Sequence[str], log: Path) -> Played:
        return self.world.start(arguments, log)


@dataclass
class _Clock:
    world: World

    def time(self) -> float:
        return self.world.now_s

    def monotonic(self) -> float:
        return self.world.now_s


def plan(count: int, **more: Any) -> Plan:
    guests = tuple(
        Guest(name, "", qmp=f"/{name}", to=f"h:{place + 1}") for place, name in enumerate("abcdef"[:count])
    )
    values: dict[str, Any] = {
        "guests": guests,
        "links": Links(100 * MB, {"": 100 * MB}),
        "deadline": When(after_s=50.0),
    }
    return Plan(**(values | more))


def carry_out(evacuation: Evacuation, world: World) -> None:
    asyncio.run(evacuation.run(lambda rows: world.rows.append(rows)))


def nothing() -> None:
    pass


Play = Callable[..., tuple[Evacuation, State, World]]


def test_no_more_at_once_than_the_policy_says_and_all_are_out(play: Play) -> None:
    evacuation, state, world = play(plan(5, concurrency=2))
    at_once = evacuation._made.choice.chosen.policy.at_once

    def end_one() -> None:
        world.end(world.alive()[0])

    world.at = [nothing, *[end_one] * 5]
    carry_out(evacuation, world)
    assert world.most_at_once == at_once <= 2
    assert {each.stage for each in state.guests.values()} == {Stage.OUT}
    assert all(each.ended_unix_s is not None for each in state.guests.values())
    assert [each.stage for each in world.rows[-1]] == [Stage.OUT] * 5


def test_a_guest_that_fails_stays_and_the_others_go_on(play: Play) -> None:
    evacuation, state, world = play(plan(2, concurrency=1))

    def fail() -> None:
        world.end(world.alive()[0], code=4)

    world.at = [fail, lambda: world.end(*world.alive())]
    world.places = {"a": Place.UNKNOWN, "b": Place.UNKNOWN}
    carry_out(evacuation, world)
    stages = sorted(each.stage for each in state.guests.values())
    assert stages == [Stage.IN_DOUBT, Stage.OUT]
    (doubt,) = (each for each in state.guests.values() if each.stage is Stage.IN_DOUBT)
    assert doubt.said == "its last words; where it is"


def test_ctrl_c_spares_who_switches_over_and_starts_nothing_more(play: Play) -> None:
    evacuation, state, world = play(plan(3, concurrency=2))
    evacuation._made = replace(
        evacuation._made,
        choice=replace(
            evacuation._made.choice,
            chosen=replace(
                evacuation._made.choice.chosen,
                policy=replace(evacuation._made.choice.chosen.policy, order=("a", "b", "c"), at_once=2),
            ),
        ),
    )

    def switches() -> None:
        world.played["a"].running = replace(world.played["a"].running, switchover="it fits")

    world.at = [switches, nothing, evacuation.cancel, nothing, lambda: world.end("a")]
    carry_out(evacuation, world)
    assert (world.played["a"].told_to_end, world.played["b"].told_to_end) == (False, True)
    assert {name: each.stage for name, each in state.guests.items()} == {
        "a": Stage.OUT, "b": Stage.STAYED, "c": Stage.WAITING,
    }  # fmt: skip
    assert evacuation.interrupted


def test_at_the_deadline_guests_on_their_way_are_broken_off_if_that_was_asked_for(play: Play) -> None:
    evacuation, state, world = play(
        plan(2, concurrency=1, at_deadline=AtDeadline.CANCEL, deadline=When(after_s=3.0))
    )
    world.at = [nothing] * 6
    carry_out(evacuation, world)
    assert sorted(each.stage for each in state.guests.values()) == [Stage.STAYED, Stage.WAITING]
    evacuation, state, world = play(plan(1, deadline=When(after_s=3.0)))
    world.at = [nothing] * 6 + [lambda: world.end("a")]
    carry_out(evacuation, world)
    assert state.guests["a"].stage is Stage.OUT


def test_a_guest_is_given_up_after_its_time(play: Play) -> None:
    guests = (Guest("a", "", qmp="/a", to="h:1", give_up_after_s=4.0),)
    evacuation, state, world = play(plan(1, guests=guests))
    world.at = [nothing] * 8
    carry_out(evacuation, world)
    assert state.guests["a"].stage is Stage.STAYED
    assert world.now_s - 1000.0 == pytest.approx(6, abs=1)


def test_pre_staging_keeps_the_cap_and_switches_some_at_a_time(play: Play) -> None:
    cap_bps = 12_000_000
    asked = plan(3, concurrency=2, prestage=Prestage(cap_bps, When(after_s=8.0)))
    evacuation, state, world = play(asked)
    gone: list[list[str]] = []

    def note() -> None:
        gone.append([name for name, change in world.changes if change.go])

    world.at = [
        nothing, lambda: world.near_end("a", "b"), nothing, lambda: world.near_end("c"), *[nothing] * 5, note,
        lambda: world.end(*gone[0]), nothing, note, lambda: world.end(*world.alive()),
    ]  # fmt: skip
    carry_out(evacuation, world)
    caps: dict[str, float] = {}
    for name, each in world.played.items():
        assert "--wait-for-go" in each.arguments
        (cap,) = (text for text in each.arguments if text.startswith("--cap="))
        caps[name] = float(cap.removeprefix("--cap=").removesuffix("B/s"))
    assert sum(sorted(caps.values())[:2]) <= cap_bps
    for name, change in world.changes:
        if change.go:
            assert change == Change(bandwidth_bps=0, go=True)
            caps.pop(name)
        else:
            assert change.bandwidth_bps is not None
            caps[name] = change.bandwidth_bps
    assert len(gone[0]) == 2, "no more at once than may be on their way"
    assert len(gone[1]) == 3
    assert {each.stage for each in state.guests.values()} == {Stage.OUT}
    assert state.went_unix_s == pytest.approx(1008, abs=1)


def test_waiting_guests_switch_over_at_the_word_and_not_before(play: Play) -> None:
    evacuation, state, world = play(plan(1, prestage=Prestage(10_000_000, None)))
    world.at = [
        nothing, lambda: world.near_end("a"), *[nothing] * 60,
        lambda: None if any(change.go for _, change in world.changes) else evacuation.go(),
        nothing, lambda: world.end("a"),
    ]  # fmt: skip
    carry_out(evacuation, world)
    assert [change.go for _, change in world.changes][-1]
    assert state.went_unix_s is not None
    assert state.went_unix_s > 1060
    assert any(row.phase == "waits for go" for rows in world.rows for row in rows)


def test_a_process_that_ended_well_without_a_result_has_moved_nothing(play: Play) -> None:
    """As one that only printed its help."""
    evacuation, state, world = play(plan(1))
    world.without_result = {"a"}
    world.at = [lambda: world.end("a"), nothing, nothing]
    carry_out(evacuation, world)
    assert state.guests["a"].stage is Stage.STAYED


def test_another_users_process_with_a_guests_id_is_not_believed(play: Play) -> None:
    evacuation, state, world = play(plan(1))

    def pretend() -> None:
        world.strangers = [_Found(replace(world.played["a"].running, switchover="now"), is_ours=False)]

    world.at = [pretend, nothing, nothing, nothing, evacuation.cancel, nothing]
    carry_out(evacuation, world)
    assert world.played["a"].told_to_end
    assert state.guests["a"].stage is Stage.STAYED
