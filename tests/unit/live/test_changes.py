"""Changing a migration: everybody is told, and nothing is changed once it is too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import UsageError
from pagethrift.live.changes import Changes
from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.live.switchover import LONGEST_LIMIT_MS, Switchover
from pagethrift.live.watch import Watch
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.model.relay_protocol import Change
from pagethrift.model.result import ChangeRecord


class Scene:
    """A migration that has begun, by relay or plain, without QEMU and relay."""

    def __init__(self, relayed: bool = True, qemu_decides: bool = False) -> None:
        self.set: list[Mapping[str, int]] = []
        self.told: list[Change] = []
        self.watch = Watch(time.monotonic() - 2.0, 0.3, None, relayed)
        self.switchover = Switchover(self._set, (10, 0, 2))
        relay = SimpleNamespace(tell_change=self.told.append) if relayed else None
        ends: Any = SimpleNamespace(relay=relay, settings=SimpleNamespace(set=self._set))
        self.changes = Changes(ends, self.watch, self.switchover, qemu_decides)

    async def _set(self, values: Mapping[str, int]) -> None:
        self.set.append(dict(values))

    def change(self, change: Change) -> None:
        asyncio.run(self.changes.carry_out(change))


def test_the_planner_the_relay_and_the_result_are_told() -> None:
    scene = Scene()
    scene.change(Change(0.5))
    scene.change(Change(None, 1000))
    assert scene.told == [Change(0.5), Change(None, 1000)]
    assert scene.set == [], "the planner decides, and the relay keeps the cap: QEMU is told nothing"
    scene.watch.on_event(QmpEvent("MIGRATION_PASS", {"pass": 2}, scene.watch.began_s + 1))
    scene.watch.on_info(
        MigrateInfo(status="active", total_bytes=4096, dirty_sync_count=2, remaining_bytes=0),
        scene.watch.began_s + 1,
    )
    facts = scene.watch.facts(time.monotonic())
    assert facts is not None
    assert facts.downtime_limit_s == 0.5
    progress = scene.watch.progress(time.monotonic())
    assert (progress.downtime_limit_s, progress.bandwidth_cap_bps) == (0.5, 1000)
    first, second = scene.watch.changes
    assert (first.downtime_limit_s, first.bandwidth_bps) == (0.5, None)
    assert second == ChangeRecord(second.at_s, None, 1000)
    assert second.at_s == pytest.approx(2.0, abs=1.0)


def test_where_qemu_decides_it_gets_the_limit() -> None:
    scene = Scene(relayed=False, qemu_decides=True)
    scene.change(Change(0.5, 1000))
    assert scene.set == [
        {"downtime-limit": 500, "avail-switchover-bandwidth": 0},
        {"max-bandwidth": 1000},
    ]
    assert scene.watch.bandwidth_cap_bps == 1000
    scene = Scene(qemu_decides=True)
    scene.change(Change(0.5, 1000))
    assert scene.set == [{"downtime-limit": 500, "avail-switchover-bandwidth": 0}]
    assert scene.told == [Change(0.5, 1000)]


def refused(scene: Scene, words: str) -> None:
    with pytest.raises(UsageError, match=f"nothing was changed: .*{words}"):
        scene.change(Change(0.5))
    assert (scene.told, scene.watch.downtime_limit_s, scene.watch.changes) == ([], 0.3, [])


def test_after_the_decision_nothing_is_changed() -> None:
    scene = Scene()
    asyncio.run(scene.switchover.go())
    scene.watch.decision = StopDecision(StopAction.SWITCH_OVER, "it fits", 0.1)
    refused(scene, "the switchover has begun")
    scene = Scene()
    scene.watch.on_event(QmpEvent("STOP", {}, time.monotonic()))
    refused(scene, "the switchover has begun")
    scene = Scene()
    scene.watch.on_event(QmpEvent("MIGRATION", {"status": "completed"}, time.monotonic()))
    refused(scene, "the switchover has begun")
    scene = Scene()
    scene.watch.on_event(QmpEvent("MIGRATION", {"status": "postcopy-active"}, time.monotonic()))
    refused(scene, "post-copy")


def test_a_decision_that_falls_while_qemu_answers_is_not_undone() -> None:
    """Else QEMU would be left with a limit that holds it back for ever."""
    scene = Scene(qemu_decides=True)

    async def both() -> None:
        holding = asyncio.Event()
        before = scene.switchover.set_parameters

        async def slowly(values: Mapping[str, int]) -> None:
            await before(values)
            if values["downtime-limit"] == 500:
                await holding.wait()

        scene.switchover.set_parameters = slowly
        changing = asyncio.ensure_future(scene.changes.carry_out(Change(0.5)))
        await asyncio.sleep(0)
        await scene.switchover.go()
        holding.set()
        with pytest.raises(UsageError, match="at the same time"):
            await changing

    asyncio.run(both())
    assert scene.set[-1]["downtime-limit"] == LONGEST_LIMIT_MS
    assert scene.watch.downtime_limit_s == 0.3


def test_while_it_waits_for_the_word_the_pace_stays_the_pilots() -> None:
    """A faster QEMU would find its memory clean, and switch over before the word."""
    scene = Scene(relayed=False)
    scene.watch.waits_for_go = True
    scene.change(Change(None, 1000))
    assert scene.set == []
    assert scene.watch.bandwidth_cap_bps == 1000
    scene.change(Change(None, 2000, go=True))
    assert {"max-bandwidth": 2000} in scene.set
