"""QEMU's own ways: default, XBZRLE's cache, auto-converge, post-copy."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pagethrift.model.facts import StopAction
from pagethrift.model.methods import Allow
from pagethrift.strategies.kvm_auto_converge import AutoConverge
from pagethrift.strategies.kvm_default import kvm_default
from pagethrift.strategies.kvm_post_copy import PostCopyAt, kvm_post_copy
from pagethrift.strategies.kvm_xbzrle import XbzrleCache
from tests.unit.strategies.facts import page_facts, stop_facts

DELTA = int(Allow.SKIP | Allow.DELTA)


def test_the_default_permits_nothing_and_leaves_the_decision_to_qemu() -> None:
    assert kvm_default().encode.allow(page_facts(1, 5)) == Allow.NOTHING
    assert kvm_default().qemu_decides


def ask(cache: XbzrleCache, round_: int, *pages: int, last: bool = False) -> list[int]:
    allowed = np.zeros(len(pages), np.uint8)
    allowed[:] = cache.allow(page_facts(len(pages), round_, pages=np.array(pages, np.int64), last=last))
    return allowed.tolist()


def test_a_delta_needs_a_page_sent_since_round_one() -> None:
    cache = XbzrleCache(64)
    assert ask(cache, 0, 5) == [0]
    assert ask(cache, 1, 5) == [0], "round 0 fills no cache"
    assert ask(cache, 2, 5, 6) == [DELTA, 0]
    assert ask(cache, 3, 5, 6) == [DELTA, DELTA]


def test_slots_are_page_numbers_modulo_a_power_of_two() -> None:
    cache = XbzrleCache(5 / 256)  # 5 pages: 4 slots
    assert ask(cache, 1, 0, 1, 2, 3) == [0, 0, 0, 0]
    assert ask(cache, 2, 3, 4, 5) == [DELTA, 0, 0], "4 and 5 find 0 and 1, used in round 1"
    assert ask(cache, 3, 4, 7) == [0, 0], "0 is old enough now; 3 was used in round 2"
    assert ask(cache, 4, 4, 3, 0) == [DELTA, DELTA, 0]


def test_the_last_pass_fills_the_cache_no_more() -> None:
    cache = XbzrleCache(64)
    assert ask(cache, 1, 5) == [0]
    assert ask(cache, 2, 5, 6, last=True) == [DELTA, 0]
    assert ask(cache, 2, 6, last=True) == [0]


def test_the_cache_against_a_dictionary() -> None:
    rng = random.Random(3)
    cache, model = XbzrleCache(8 / 256), dict[int, tuple[int, int]]()
    for step in range(200):
        round_ = 1 + step // 20
        pages = rng.sample(range(40), rng.randint(0, 6))
        expected = []
        for page in pages:
            tag, age = model.get(page % 8, (-1, -9))
            expected.append(DELTA if tag == page else 0)
            if tag == page or age + 2 <= round_:
                model[page % 8] = (page, round_)
        assert ask(cache, round_, *pages) == expected


def throttles(dirty: list[int], sent: list[int] | None = None, round_s: float = 10.0) -> list[int]:
    """Percent in force after each round, its beginning looked at twice."""
    rule, percent, found = AutoConverge(), 0, []
    for i in range(1, len(dirty) + 1):
        now_s = round_s * i
        facts = stop_facts(dirty[:i], sent[: i + 1] if sent else None, now_s=now_s, round_began_s=now_s)
        for _ in range(2):
            decision = rule.decide(facts)
            if decision.action is StopAction.SET_THROTTLE:
                assert decision.reason
                percent = decision.throttle_percent
        found.append(percent)
    return found


def test_twenty_percent_after_two_high_readings_then_ten_more() -> None:
    assert throttles([200_000] * 8) == [0, 20, 20, 30, 30, 40, 40, 50]
    assert throttles([200_000] * 22)[-3:] == [99, 99, 99]


def test_high_is_more_than_half_of_what_was_sent() -> None:
    assert throttles([100_000] * 4, [4096 * 200_000] * 5) == [0, 0, 0, 0]
    assert throttles([100_001] * 4, [4096 * 200_000] * 5) == [0, 20, 20, 30]


def test_readings_are_a_second_apart() -> None:
    assert throttles([200_000] * 9, round_s=0.4) == [0, 0, 0, 0, 0, 20, 20, 20, 20]


def test_auto_converge_stops_by_qemus_rule() -> None:
    idle = stop_facts([9000, 0])
    assert AutoConverge().decide(idle).action is StopAction.SWITCH_OVER


@pytest.mark.parametrize(("from_round", "rounds", "begun"), [(0, 0, True), (1, 0, False), (1, 1, True)])
def test_post_copy_begins_at_a_round(from_round: int, rounds: int, begun: bool) -> None:
    decision = PostCopyAt(from_round).decide(stop_facts([9000] * rounds))
    assert (decision.action is StopAction.START_POST_COPY) == begun
    assert kvm_post_copy(from_round).stop == PostCopyAt(from_round)
