"""A migration that waits for the word to go: it is held whatever the stop rule says, and let go once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.engine.planner import Planner
from pagethrift.errors import UsageError
from pagethrift.live.changes import Changes
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.pilot import waiting_pace_bps
from pagethrift.live.switchover import Switchover
from pagethrift.live.watch import Watch
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.relay_protocol import Change, decode_command, encode_command

FACTS = StopFacts(
    now_s=9.0, round=3, round_began_s=8.0, total_pages=1000, remaining_pages=1, dirty_pages_per_s=1.0,
    first_round_bytes=1, retransferred_bytes=1, round_sent_bytes=(1,), round_dirty_pages=(1,),
    retransferred_pages=1, held_bytes=0, unsent_bytes=0, link_bps=1e6, downtime_limit_s=0.3,
)  # fmt: skip


class Eager:
    def decide(self, facts: StopFacts) -> StopDecision:
        return StopDecision(StopAction.SWITCH_OVER, "now", 0.1)


def test_the_planner_holds_and_does_not_keep_a_decision_of_that_time() -> None:
    planner = Planner(Eager())
    waits = replace(FACTS, waits_for_go=True)
    assert planner.decide(waits) == StopDecision(StopAction.CONTINUE, predicted_downtime_s=0.1)
    assert planner.decided is None
    assert planner.decide(FACTS).action is StopAction.SWITCH_OVER


def scene(qemu_decides: bool) -> tuple[Changes, Watch, list[Change], list[Mapping[str, int]]]:
    told: list[Change] = []
    values: list[Mapping[str, int]] = []

    async def set_parameters(new: Mapping[str, int]) -> None:
        values.append(dict(new))

    watch = Watch(time.monotonic(), 0.3, None, relayed=True)
    watch.waits_for_go = True
    relay = SimpleNamespace(tell_change=told.append)
    ends: Any = SimpleNamespace(relay=relay, settings=SimpleNamespace(set=set_parameters))
    return Changes(ends, watch, Switchover(set_parameters, (10, 0, 2)), qemu_decides), watch, told, values


def test_go_is_for_the_driver_not_for_the_relay() -> None:
    changes, watch, told, _ = scene(qemu_decides=False)
    asyncio.run(changes.carry_out(Change(bandwidth_bps=1000)))
    assert watch.waits_for_go
    asyncio.run(changes.carry_out(Change(bandwidth_bps=0, go=True)))
    assert told == [Change(bandwidth_bps=1000), Change(bandwidth_bps=0)]
    assert (watch.waits_for_go, watch.went_s is not None) == (False, True)
    asyncio.run(changes.carry_out(Change(go=True)))
    assert len(told) == 2, "nothing is left to tell"
    assert [each.go for each in watch.changes] == [False, True, True]


def test_where_qemu_decides_it_is_left_to_it_only_then() -> None:
    changes, watch, _, values = scene(qemu_decides=True)
    asyncio.run(changes.carry_out(Change(downtime_limit_s=0.5)))
    assert values == []
    asyncio.run(changes.carry_out(Change(go=True)))
    assert values == [{"downtime-limit": 500, "avail-switchover-bandwidth": 0}]
    assert not watch.waits_for_go


def test_the_message() -> None:
    assert decode_command(encode_command(Change(go=True))) == Change(go=True)
    assert decode_command(b'{"set": {"go": true}}') == Change(go=True)
    for wrong in (b'{"set": {"go": 1}}', b'{"set": {"go": false}}'):
        with pytest.raises(UsageError):
            decode_command(wrong)


def test_options_that_contradict_it() -> None:
    options = MigrateOptions("/a", "h:1", "/b", wait_for_go=True, plain=True)
    options.check()
    with pytest.raises(UsageError, match="post-copy moves the guest at once"):
        replace(options, features=PlainFeatures(post_copy=True)).check()
    with pytest.raises(UsageError, match="--cap is for the relay"):
        replace(options, cap_bps=1000).check()


def test_the_pace_of_waiting() -> None:
    assert waiting_pace_bps(800 << 20, 0) == 100 << 20
    assert waiting_pace_bps(0, 0) == 1 << 20, "the first pass is to end"
    assert waiting_pace_bps(5 << 20, 3) == 5 << 20
    assert waiting_pace_bps(4096, 3) == 40960, "a page in each 100 ms"
