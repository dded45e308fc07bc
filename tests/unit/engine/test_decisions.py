"""Permissions, holding and releasing, as engine and simulator ask for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pytest

from pagethrift.content.ledger import State
from pagethrift.engine.choice import Payload
from pagethrift.engine.counters import Count, Counters
from pagethrift.engine.decisions import Decisions, Moment
from pagethrift.engine.held import HeldPages
from pagethrift.model.methods import Allow, Method
from pagethrift.model.pages import I32, I64, PAGE_BYTES, U8, U32
from pagethrift.strategies.base import AlwaysAllow, HeldFacts, HoldNothing, PageFacts, Strategy
from pagethrift.strategies.table import strategy

NOW = Moment(1.0, 1, 12.5e6, 0.3, going=False)
GOING = replace(NOW, going=True)
PAGES = 6


@dataclass
class Script:
    """Holds the pages named and remembers what it was told."""

    hold_pages: set[int] = field(default_factory=set)
    release_pages: set[int] | None = None
    told: list[PageFacts] = field(default_factory=list)
    told_held: list[HeldFacts] = field(default_factory=list)

    def hold(self, facts: PageFacts) -> npt.NDArray[np.bool_]:
        self.told.append(facts)
        return np.isin(facts.pages, sorted(self.hold_pages))

    def release(self, facts: HeldFacts) -> npt.NDArray[np.bool_] | None:
        self.told_held.append(facts)
        return None if self.release_pages is None else np.isin(facts.pages, sorted(self.release_pages))


@dataclass(frozen=True)
class Noise:
    """Pages of random content: nothing about them is short."""

    delta_bytes: int = 300

    def measure(self, allowed: U8, payloads: I32) -> None:
        payloads[:, Payload.SPARSE] = PAGE_BYTES
        payloads[:, Payload.DELTA] = self.delta_bytes

    def adjust(self, methods: U8, sizes: I32) -> None:
        pass


class Bench:
    def __init__(self, script: Script, budget_pages: int = 4, knows_contents: bool = True) -> None:
        row: Strategy = replace(strategy("pagethrift"), hold=script, needs_history=True)
        self.state: U8 = np.zeros(PAGES, np.uint8)
        self.counters = Counters()
        self.held = HeldPages(PAGES, budget_pages)
        self.decisions = Decisions(row, self.state, self.held, self.counters, knows_contents)

    def arrive(self, pages: list[int], masks: list[int], moment: Moment = NOW) -> list[Method]:
        methods, _ = self.decisions.decide(
            np.array(pages, np.int64), np.array(masks, np.uint32), Noise(), moment, arriving=True
        )
        return [Method(method) for method in methods]

    def released(self, moment: Moment = NOW, everything: bool = False) -> set[int]:
        slots = self.decisions.to_release(moment, everything)
        return set(self.held.page_in[slots].tolist())


@dataclass(frozen=True)
class Asked:
    """Answers as AlwaysAllow does, but has to be asked."""

    methods: Allow

    def allow(self, facts: PageFacts) -> Allow:
        return self.methods


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("methods", [Allow.NOTHING, Allow.SKIP, Allow.SKIP | Allow.DELTA])
def test_a_constant_permission_need_not_be_asked(methods: Allow, knows: bool) -> None:
    found = []
    for encode in (AlwaysAllow(methods), Asked(methods)):
        row = replace(strategy("pagethrift"), hold=HoldNothing(), encode=encode)
        state = np.full(PAGES, State.KNOWN, np.uint8)
        decisions = Decisions(row, state, HeldPages(PAGES, 0), Counters(), knows)
        pages, masks = np.arange(PAGES), np.array([0, 1, 2, 0, 0, 1], np.uint32)
        decided = decisions.decide(pages, masks, Noise(), NOW, arriving=True)
        found.append([answer.tolist() for answer in decided])
    assert found[0] == found[1]


def test_who_cannot_tell_contents_apart_skips_nothing() -> None:
    for knows, expected in ((True, [Method.SKIP, Method.DELTA]), (False, [Method.FULL, Method.FULL])):
        bench = Bench(Script(), knows_contents=knows)
        bench.state[:] = State.KNOWN
        assert bench.arrive([0, 1], [0, 1]) == expected


def test_a_page_that_is_equal_again_is_no_longer_held() -> None:
    bench = Bench(Script({0, 1}))
    bench.state[:] = State.KNOWN
    assert bench.arrive([0, 1], [1, 1]) == [Method.HOLD, Method.HOLD]
    assert bench.held.held_bytes == 2 * (11 + 300)
    assert bench.arrive([0], [0]) == [Method.SKIP]
    assert bench.held.slots(np.arange(2)).tolist()[0] == -1
    assert len(bench.held) == 1


def test_what_finds_no_room_goes_at_once() -> None:
    bench = Bench(Script({0, 1, 2}), budget_pages=2)
    methods = bench.arrive([0, 1, 2], [1, 1, 1])
    assert methods.count(Method.HOLD) == len(bench.held) == 2
    assert bench.arrive([0, 1], [1, 1]) == [Method.HOLD, Method.HOLD], "a page that is held keeps its place"


def test_nothing_is_held_once_the_switchover_is_decided() -> None:
    script = Script({0, 1})
    bench = Bench(script)
    bench.arrive([0, 1], [1, 1])
    asked = len(script.told)
    assert bench.arrive([0], [1], GOING) == [Method.FULL]
    assert len(script.told) == asked, "the strategy is not even asked"
    assert len(bench.held) == 1, "the newer content went instead of the older one"
    assert bench.released(GOING) == {1}


def test_releasing() -> None:
    script = Script({0, 1, 2})
    bench = Bench(script)
    bench.arrive([0, 1, 2], [1, 1, 1])
    assert bench.released() == set()
    script.release_pages = {1}
    assert bench.released() == {1}
    assert bench.released(everything=True) == {0, 1, 2}
    facts = script.told_held[-1]
    assert facts.arrivals.tolist() == [1, 1, 1]
    assert facts.since_s.tolist() == [1.0, 1.0, 1.0]


def test_pages_of_a_base_count_as_never_forwarded() -> None:
    script = Script()
    bench = Bench(script)
    bench.state[:2] = State.BASE, State.KNOWN
    assert bench.arrive([0, 1, 2], [1, 1, 0xFFFFFFFF]) == [Method.DELTA, Method.DELTA, Method.FULL]
    assert script.told[-1].first.tolist() == [True, False, True]


def test_a_strategy_cannot_write_into_what_it_is_told() -> None:
    script = Script()
    Bench(script).arrive([0, 1], [1, 1])
    facts = script.told[-1]
    for array in (facts.pages, facts.masks, facts.arrivals, facts.sizes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_insight_is_passed_on() -> None:
    class Insight:
        as_defined = True

        def dirty_again(self, pages: I64, held: bool) -> npt.NDArray[np.bool_]:
            return np.full(len(pages), held)

        def watched(self, pages: I64) -> U8:
            return pages.astype(np.uint8)

    script = Script({0, 3})
    row = replace(strategy("pagethrift"), hold=script)
    held = HeldPages(PAGES, 4)
    decisions = Decisions(row, np.zeros(PAGES, np.uint8), held, Counters(), insight=Insight())
    masks: U32 = np.ones(2, np.uint32)
    decisions.decide(np.array([0, 3]), masks, Noise(), NOW, arriving=True)
    decisions.to_release(NOW, everything=False)
    told, told_held = script.told[-1], script.told_held[-1]
    assert (told.as_defined, told_held.as_defined) == (True, True)
    assert told.dirty_again is not None
    assert told_held.dirty_again is not None
    assert not told.dirty_again.any()
    assert told_held.dirty_again.all()
    assert told.watched is not None
    assert told.watched.tolist() == [0, 3]


def test_released_pages_do_not_count_as_arrivals() -> None:
    bench = Bench(Script({0}))
    bench.arrive([0], [1])
    bench.decisions.decide(np.zeros(1, np.int64), np.ones(1, np.uint32), Noise(), NOW, arriving=False)
    assert bench.counters.of(Count.PAGES_IN) == 1
    assert len(bench.held) == 1


@pytest.mark.parametrize("allow", [Allow.NOTHING, Allow.SKIP | Allow.DELTA])
def test_the_answer_is_for_each_page_or_for_all(allow: Allow) -> None:
    class PerPage:
        def allow(self, facts: PageFacts) -> U8:
            return np.full(len(facts.pages), int(allow), np.uint8)

    row = replace(strategy("pagethrift"), encode=PerPage())
    state: U8 = np.full(PAGES, State.KNOWN, np.uint8)
    decisions = Decisions(row, state, HeldPages(PAGES, 0), Counters())
    methods, sizes = decisions.decide(np.arange(2), np.array([0, 1], np.uint32), Noise(), NOW, arriving=True)
    expected = [Method.SKIP, Method.DELTA] if allow else [Method.FULL, Method.FULL]
    assert methods.tolist() == expected
    assert sizes.tolist() == ([0, 311] if allow else [4104, 4104])
