"""Orchestrators' rules: what limit is in force when."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pagethrift.model.facts import StopAction
from pagethrift.strategies.base import StopRule
from pagethrift.strategies.stop.kubevirt import KubeVirtStall
from pagethrift.strategies.stop.ladders import CloudHypervisor, Nova, OVirt, Ramp
from tests.unit.strategies.facts import MBIT_100_BPS, stop_facts

GO, ON = StopAction.SWITCH_OVER, StopAction.CONTINUE


def limit_ms(rule: StopRule, now_s: float, round_: int) -> int:
    """The largest downtime in ms whose pending pages the rule accepts."""
    low, high = 0, 2000
    facts = stop_facts([100_000] * round_, now_s=now_s, round_began_s=now_s)
    while high - low > 1:
        middle = (low + high) // 2
        pending = math.ceil(middle / 1000 * MBIT_100_BPS / 4096) - 1
        fits = rule.decide(replace(facts, remaining_pages=pending)).action is GO
        low, high = (middle, high) if fits else (low, middle)
    return low


@pytest.mark.parametrize(
    ("now_s", "limit"), [(1, 50), (149, 50), (151, 95), (301, 140), (1499, 455), (1501, 500), (9999, 500)]
)
def test_nova_takes_one_gibibyte_for_two(now_s: float, limit: int) -> None:
    assert limit_ms(Nova(), now_s, 2) == limit


def test_novas_own_example() -> None:
    """10 steps, 30 s, 3 GiB, 400 ms: 40, 76, 112 ... 400 ms every 90 s (here 45 s, and 1 GiB taken for 2)."""
    rule = Nova(downtime_s=0.4, steps=10, delay_s=45)
    found = [limit_ms(rule, 90 * i + 1, 2) for i in range(12)]
    assert found == [40, 76, 112, 148, 184, 220, 256, 292, 328, 364, 400, 400]


def test_ovirt_takes_a_step_each_new_iteration() -> None:
    found = [limit_ms(OVirt(), 5.0, round_) for round_ in range(1, 9)]
    assert found == [100, 150, 200, 300, 400, 400, 500, 500]


def test_the_ramp_begins_in_round_three() -> None:
    rule = Ramp()
    facts = stop_facts([100_000] * 2, downtime_limit_s=0.5)
    assert limit_ms(rule, 500.0, 2) == 150
    assert rule.decide(replace(facts, now_s=500.0)).action is ON
    for now_s, limit in ((600.0, 150), (609.9, 150), (610.0, 171), (669.9, 278), (670.0, 300), (9999.0, 300)):
        assert limit_ms(rule, now_s, 3) == limit


def test_cloud_hypervisor_looks_at_a_rounds_backlog() -> None:
    fits = int(0.3 * MBIT_100_BPS / 4096)
    assert CloudHypervisor().decide(stop_facts([fits])).action is GO
    assert CloudHypervisor().decide(stop_facts([fits + 1])).action is ON
    assert CloudHypervisor().decide(stop_facts([fits + 1], remaining_pages=0)).action is ON
    assert CloudHypervisor(timeout_s=60).decide(stop_facts([9000], now_s=60)).action is GO
    assert CloudHypervisor().decide(stop_facts([])).action is ON


def kubevirt(backlogs: list[int], round_s: float = 10.0) -> int | None:
    """The round in which the rule accepts, each round's beginning looked at twice."""
    rule = KubeVirtStall()
    for i in range(1, len(backlogs) + 1):
        facts = stop_facts(backlogs[:i], now_s=round_s * i, round_began_s=round_s * i)
        for _ in range(2):
            if rule.decide(facts).action is GO:
                return i
    return None


def test_kubevirt_waits_while_rounds_improve() -> None:
    assert kubevirt([round(100_000 * 0.9**i) for i in range(20)]) is None


def test_kubevirt_accepts_the_best_backlog_after_forty_seconds_without_progress() -> None:
    assert kubevirt([50_000] * 8) == 5
    assert kubevirt([50_000, 49_000, 50_000, 50_000, 50_500]) == 5, "all within 4 % of the best"
    assert kubevirt([50_000, 40_000, 60_000, 60_000, 60_000, 60_000, 41_600]) == 7
    assert kubevirt([50_000, 40_000, 60_000, 60_000, 60_000, 60_000, 41_601]) is None


def test_kubevirt_relaxes_its_mark() -> None:
    """Stalled in round 5, at 50 s; the mark is relaxed first 40 s later, in round 9, to 60 000."""
    assert kubevirt([50_000, 40_000, *[60_000] * 20]) == 9


def test_qemus_rule_ends_it_before_a_stall() -> None:
    assert kubevirt([9000, 100]) == 2
