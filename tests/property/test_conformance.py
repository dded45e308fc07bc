"""What every row of the table and every stop rule owes, by being in the table."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagethrift.engine.output import Output, PauseReason
from pagethrift.engine.planner import Planner
from pagethrift.engine.thinner import Thinner
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.methods import Allow
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.strategies.base import HeldFacts, HoldNothing, PageFacts, Strategy
from pagethrift.strategies.pagethrift import HoldHot
from pagethrift.strategies.stop_table import STOPS
from pagethrift.strategies.table import TABLE, strategy
from pagethrift.stream.image import image
from pagethrift.stream.synthetic import StreamBuilder
from tests.streams import before, examples, random_stream, seeds, thin_in_pieces

EXAMPLES = examples(40)
LIVE = [name for name, make in TABLE.items() if not make().refuses_live]
HOLDING = [name for name in LIVE if not isinstance(TABLE[name]().hold, HoldNothing)]
PAGES, ROUNDS = 24, 9
LINK_BPS, LIMIT_S = 1e6, 0.1


def dirtying(seed: int) -> list[list[tuple[int, bytes]]]:
    """Pages of each round: all first, then hot pages every round and others now and then."""
    rng = random.Random(seed)
    hot = rng.sample(range(PAGES), rng.randint(1, PAGES // 2))
    content = [bytearray(rng.randbytes(PAGE_BYTES)) for _ in range(PAGES)]
    rounds = [[(page, bytes(content[page])) for page in range(PAGES)]]
    for _ in range(ROUNDS):
        dirty = [page for page in range(PAGES) if rng.random() < (0.9 if page in hot else 0.15)]
        for page in dirty:
            at = rng.randrange(PAGE_BYTES - 8)
            content[page][at : at + 8] = rng.choice((bytes(8), rng.randbytes(8)))
        rounds.append([(page, bytes(content[page])) for page in dirty])
    return rounds


def stream_of(rounds: list[list[tuple[int, bytes]]]) -> list[bytes]:
    """The stream cut where rounds begin; the last round is RAM's last section."""
    builder, cuts = StreamBuilder([("pc.ram", PAGES)]), [0]
    for number, dirty in enumerate(rounds):
        builder.begin_body(last=number == len(rounds) - 1)
        for page, content in dirty:
            builder.page(0, page, content)
        builder.end_body()
        cuts.append(sum(len(part) for part in builder.parts))
    whole = builder.finish(b"devices")
    return [whole[a:b] for a, b in zip(cuts[:-1], [*cuts[1:-1], len(whole)], strict=True)]


class Watched:
    """A row's hold answer; fails when more is held than may be."""

    def __init__(self, chosen: Strategy, limit_bytes: float) -> None:
        self.inner = chosen.hold
        self.limit_bytes = limit_bytes
        self.held_once = False

    def hold(self, facts: PageFacts) -> Any:
        assert facts.held_pages <= facts.hold_budget_pages
        assert facts.held_bytes <= self.limit_bytes
        self.held_once = self.held_once or facts.held_pages > 0
        return self.inner.hold(facts)

    def release(self, facts: HeldFacts) -> Any:
        return self.inner.release(facts)


def thin_rounds(chosen: Strategy, seed: int, link_bps: float = LINK_BPS) -> tuple[Thinner, bytes, bytes]:
    """Thin a dirtying guest's rounds; return the thinner, the stream and the thinned stream."""
    pieces = stream_of(dirtying(seed))
    thinner, out, thinned = Thinner(chosen, bytes(range(32)), 64 * PAGE_BYTES), Output(1 << 20), bytearray()
    thinner.link_bps, thinner.downtime_limit_s = link_bps, LIMIT_S
    for number, piece in enumerate([*pieces, b""]):
        if number < len(pieces) - 1:
            thinner.begin_round(number)
        elif piece:
            thinner.go()
        room = thinner.room(len(piece))
        room[: len(piece)] = piece
        thinner.received(len(piece))
        while thinner.run(out, float(number)) is PauseReason.OUTPUT_FULL:
            pass
        thinned += b"".join(out.pieces())
        out.clear()
    return thinner, b"".join(pieces), bytes(thinned)


@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_the_image_is_equal_and_nothing_is_owed(name: str, seed: int) -> None:
    """Rows that refuse to run live must be harmless all the same."""
    stream = random_stream(seed)
    thinned, thinner = thin_in_pieces(stream, strategy(name), seed)
    expected, got = image(stream, before), image(thinned, before)
    assert (expected.memory == got.memory).all()
    assert expected.tail == got.tail
    assert len(thinner.held) == 0


@pytest.mark.parametrize("name", LIVE)
@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_a_dirtying_guest_arrives_whole_and_holding_keeps_its_bounds(name: str, seed: int) -> None:
    chosen = strategy(name)
    watched = Watched(chosen, LIMIT_S * LINK_BPS)
    thinner, stream, thinned = thin_rounds(replace(chosen, hold=watched), seed)
    assert (image(stream, before).memory == image(thinned, before).memory).all()
    assert len(thinner.held) == 0
    again, _, repeated = thin_rounds(strategy(name), seed)
    assert repeated == thinned, "the same facts, another answer"
    assert again.counters.out_bytes == len(thinned)


@pytest.mark.parametrize("name", HOLDING)
def test_holding_happens(name: str) -> None:
    held = 0
    for seed in range(10):
        watched = Watched(strategy(name), math.inf)
        thin_rounds(replace(strategy(name), hold=watched), seed)
        held += watched.held_once
    assert held > 5


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=seeds)
def test_the_defaults_holding_costs_no_bytes(seed: int) -> None:
    chosen = strategy("pagethrift")
    assert isinstance(chosen.hold, HoldHot)
    _, _, holding = thin_rounds(chosen, seed)
    _, _, plain = thin_rounds(replace(chosen, hold=HoldNothing()), seed)
    assert len(holding) <= len(plain)


@pytest.mark.parametrize("name", HOLDING)
def test_nothing_is_held_while_the_link_rate_is_unknown(name: str) -> None:
    for seed in range(5):
        thinner, _, _ = thin_rounds(replace(strategy(name), hold=Watched(strategy(name), 0.0)), seed, 0.0)
        assert len(thinner.held) == 0


def chaos_pages(rng: np.random.Generator) -> PageFacts:
    n = int(rng.integers(0, 40))

    def some(values: Any) -> Any:
        values.setflags(write=False)
        return values if rng.random() < 0.7 else None

    facts = PageFacts(
        float(rng.choice([-1.0, 0.0, 1e9])), int(rng.choice([-3, 0, 1, 5, 2**31])),
        rng.permutation(1000)[:n], rng.integers(0, 2**32, n, np.uint32), rng.random(n) < 0.5,
        rng.integers(0, 256, n).astype(np.uint8), rng.integers(0, 4105, n).astype(np.int32),
        int(rng.choice([0, 7, 2**40])), int(rng.choice([0, 100])),
        held_bytes=int(rng.choice([0, 10**5, 2**50])),
        held_sizes=some(rng.integers(0, 4105, n).astype(np.int32)),
        link_bps=float(rng.choice([0.0, 1e-300, 1e6, 1e300])),
        downtime_limit_s=float(rng.choice([0.0, 0.3, 1e300])),
        history=some(rng.integers(0, 256, n).astype(np.uint8)), last=bool(rng.random() < 0.2),
        dirty_again=some(rng.random(n) < 0.5), watched=some(rng.integers(0, 256, n).astype(np.uint8)),
        as_defined=bool(rng.random() < 0.5),
    )  # fmt: skip
    for array in (facts.pages, facts.masks, facts.first, facts.arrivals, facts.sizes):
        array.setflags(write=False)
    return facts


def chaos_held(rng: np.random.Generator) -> HeldFacts:
    pages = chaos_pages(rng)
    n = len(pages.pages)
    return HeldFacts(
        pages.now_s, pages.round, pages.pages, rng.random(n) * 1e9, rng.integers(-5, 2**31, n),
        pages.arrivals, pages.sizes if rng.random() < 0.7 else None, pages.link_bps,
        pages.downtime_limit_s, pages.history, pages.dirty_again, pages.as_defined,
    )  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(seed=seeds)
def test_absurd_page_facts_get_answers_of_their_shape(name: str, seed: int) -> None:
    """The arrays are read-only: an answer must not be made in place."""
    rng = np.random.default_rng(seed)
    first, second = strategy(name), strategy(name)
    for _ in range(6):
        pages, held = chaos_pages(rng), chaos_held(rng)
        allowed = np.zeros(len(pages.pages), np.uint8)
        allowed[:] = first.encode.allow(pages)
        assert (allowed <= sum(Allow)).all()
        assert np.array_equal(allowed, np.broadcast_to(second.encode.allow(pages), allowed.shape))
        for facts, answer, repeated in (
            (pages, first.hold.hold(pages), second.hold.hold(pages)),
            (held, first.hold.release(held), second.hold.release(held)),
        ):
            assert answer is None or (answer.dtype == np.bool_ and answer.shape == facts.pages.shape)
            assert (answer is None) == (repeated is None)
            assert answer is None or repeated is None or np.array_equal(answer, repeated)


counts = st.sampled_from([-1, 0, 1, 49, 50, 10**4, 2**40])
chaos_facts = st.builds(
    StopFacts,
    now_s=st.sampled_from([-5.0, 0.0, 0.1, 60.0, 1e12]), round=st.sampled_from([-1, 0, 1, 2, 3, 30, 10**6]),
    round_began_s=st.sampled_from([-5.0, 0.0, 59.0, 1e13]), total_pages=counts, remaining_pages=counts,
    dirty_pages_per_s=st.sampled_from([0.0, 1.0, 1e300]), first_round_bytes=counts,
    retransferred_bytes=counts, round_sent_bytes=st.lists(counts, max_size=6).map(tuple),
    round_dirty_pages=st.lists(counts, max_size=6).map(tuple), retransferred_pages=counts, held_bytes=counts,
    unsent_bytes=counts, link_bps=st.sampled_from([0.0, 1e-9, 1e6, 1e300]),
    downtime_limit_s=st.sampled_from([0.0, 0.001, 0.3, 1e9]), held_pages=counts,
)  # fmt: skip


@pytest.mark.parametrize("name", [*STOPS, *(f"{name}'s own" for name in TABLE)])
@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(facts=st.lists(chaos_facts, min_size=1, max_size=8))
def test_absurd_stop_facts_are_decided_alike_and_with_a_reason(name: str, facts: list[StopFacts]) -> None:
    own = name.removesuffix("'s own")
    first, second = (strategy(own).stop if own != name else STOPS[name].make() for _ in range(2))
    for asked in facts:
        decision = first.decide(asked)
        assert decision == second.decide(asked)
        if decision.action is not StopAction.CONTINUE:
            assert decision.reason
            assert "\n" not in decision.reason
        if decision.action is StopAction.SWITCH_OVER:
            assert asked.round >= 1, "nobody gives up during the first pass"
        if decision.action is StopAction.SET_THROTTLE:
            assert 0 < decision.throttle_percent <= 99
        predicted = decision.predicted_downtime_s
        assert predicted is None or not math.isnan(predicted)


def run_until_decided(stop: str, dirty_pages: list[int]) -> tuple[int, StopDecision | None]:
    """Let a guest of 1 GiB dirty the listed pages round by round; return when and how it was moved.

    The last number repeats for 6000 seconds. 100 Mbit/s, ten looks a round.
    """
    seconds = 6000
    planner, link_bps, total = Planner(STOPS[stop].make()), 12.5e6, 1 << 18
    dirty, sent, began_s, throttle = [total], [0], 0.0, 0.0
    while began_s < seconds:
        pages = dirty[-1]
        lasts_s = max(0.1, pages * 4104 / link_bps)
        round_ = len(dirty) - 1
        coming = dirty_pages[min(round_, len(dirty_pages) - 1)] * (1 - throttle)
        for look in range(10):
            done = look / 10
            through = int(done * pages)
            again = through if round_ else 0
            facts = StopFacts(
                now_s=began_s + done * lasts_s, round=round_, round_began_s=began_s, total_pages=total,
                remaining_pages=pages - through, dirty_pages_per_s=coming / lasts_s,
                first_round_bytes=total * 4104, retransferred_bytes=sum(sent[1:-1]) + again * 4104,
                round_sent_bytes=(*sent[:-1], through * 4104), round_dirty_pages=tuple(dirty),
                retransferred_pages=sum(dirty[1:-1]) + again, held_bytes=0, unsent_bytes=0, link_bps=link_bps,
                downtime_limit_s=0.3,
            )  # fmt: skip
            decision = planner.decide(facts)
            if decision.action is StopAction.SET_THROTTLE:
                throttle = decision.throttle_percent / 100
            if decision.action in (StopAction.SWITCH_OVER, StopAction.START_POST_COPY):
                return round_, decision
        sent[-1] = int(pages * 4104)
        began_s += lasts_s
        dirty.append(int(coming))
        sent.append(0)
    return len(dirty), None


WAITS = {"qemu", "predicted", "nova", "ovirt", "ramp"}
"""rules that accept only a downtime limit: they wait for ever on a guest that never fits it"""


@pytest.mark.parametrize("stop", STOPS)
def test_a_quiet_guest_is_moved_soon(stop: str) -> None:
    round_, decision = run_until_decided(stop, [20_000, 2000, 200, 20])
    assert decision is not None
    assert round_ <= 6


@pytest.mark.parametrize("stop", STOPS)
def test_a_busy_guest_is_moved_in_the_end_or_the_rule_says_it_waits(stop: str) -> None:
    _, decision = run_until_decided(stop, [60_000])
    assert (decision is None) == (stop in WAITS)


@pytest.mark.parametrize("stop", STOPS)
def test_a_planner_decides_once(stop: str) -> None:
    planner = Planner(STOPS[stop].make())
    facts = StopFacts(
        now_s=9.0, round=2, round_began_s=9.0, total_pages=1000, remaining_pages=0, dirty_pages_per_s=0.0,
        first_round_bytes=10**6, retransferred_bytes=10**6, round_sent_bytes=(10**6, 10**6, 0),
        round_dirty_pages=(1000, 0, 0), retransferred_pages=100, held_bytes=0, unsent_bytes=0, link_bps=1e9,
        downtime_limit_s=0.3,
    )  # fmt: skip
    decision = planner.decide(facts)
    assert decision.action in (StopAction.SWITCH_OVER, StopAction.START_POST_COPY)
    busy = replace(facts, remaining_pages=1000, round=5, round_dirty_pages=(1000,) * 6)
    assert planner.decide(busy) is decision
