"""Libvirt's own part of a downtime is left out of what the rest may take."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.virt.hypervisor import Domain
from pagethrift.virt.switchover import LIBVIRT_S, UNREAD_BYTES, Allowing, Switchover
from tests.unit.strategies.stop.test_prediction import FACTS


class Rule:
    """Switches over if half of the limit is enough for it."""

    def __init__(self, predicted_s: float | None) -> None:
        self.predicted_s = predicted_s
        self.limits_s: list[float] = []

    def decide(self, facts: StopFacts) -> StopDecision:
        self.limits_s.append(facts.downtime_limit_s)
        return StopDecision(StopAction.SWITCH_OVER, "it fits", self.predicted_s)


@pytest.mark.parametrize(("limit_s", "connections"), [(0.3, 1), (2.0, 3), (0.05, 1)])
def test_a_rule_gets_what_is_left_and_at_least_half(limit_s: float, connections: int) -> None:
    rule = Rule(0.02)
    facts = replace(FACTS, downtime_limit_s=limit_s, link_bps=25e6)
    part_s = LIBVIRT_S + connections * UNREAD_BYTES / 25e6
    decision = Allowing(rule, connections).decide(facts)
    assert rule.limits_s == [pytest.approx(max(limit_s / 2, limit_s - part_s))]
    assert decision.predicted_downtime_s == pytest.approx(0.02 + part_s)
    assert decision.reason == f"it fits, and libvirt takes {part_s * 1000:.0f} ms"


def test_of_a_link_that_is_not_known_only_libvirts_part_is() -> None:
    rule = Rule(0.1)
    Allowing(rule).decide(replace(FACTS, downtime_limit_s=0.3, link_bps=0.0))
    assert rule.limits_s == [pytest.approx(0.3 - LIBVIRT_S)]


def test_what_cannot_be_predicted_stays_so() -> None:
    assert Allowing(Rule(None)).decide(FACTS) == StopDecision(StopAction.SWITCH_OVER, "it fits", None)


class SlowDomain:
    """Answers late; of calls at the same time the later one may come first."""

    name = "g"
    hypervisor = SimpleNamespace(uri="qemu:///system")

    def __init__(self) -> None:
        self.value_ms = 50
        self.asked = asyncio.Event()

    async def downtime_ms(self) -> int:
        found = self.value_ms
        self.asked.set()
        await asyncio.sleep(0.05)
        return found

    async def set_downtime_ms(self, value_ms: int) -> None:
        self.value_ms = value_ms


def test_who_holds_again_and_who_gives_back_do_not_meet() -> None:
    domain = SlowDomain()
    switchover = Switchover(cast(Domain, domain))

    async def both() -> None:
        await switchover.hold()
        domain.value_ms = 300  # another client's
        domain.asked.clear()
        keeping = asyncio.create_task(switchover.keep())
        await domain.asked.wait()
        assert await switchover.restore() == ""
        await keeping

    asyncio.run(both())
    assert domain.value_ms == 300
