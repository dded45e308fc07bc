"""Planner and timetable on tables: deadlines kept where that is possible, never more than the link."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest

from pagethrift.evacuation.link import Links, shares
from pagethrift.evacuation.planner import BASELINES, baselines, choose
from pagethrift.evacuation.policy import Leaver, Policy
from pagethrift.evacuation.timetable import Timetable, timetable
from tests.unit.evacuation.guests import MB, leaver, together

LINK = Links(100 * MB, {"": 100 * MB})


def score(found: Timetable, deadline_s: float) -> tuple[int, int, float]:
    never = sum(math.isinf(each.out_s) for each in found.leavings)
    return len(found.late(deadline_s)), never, round(found.last_out_s, 3)


def test_a_share_of_a_link_is_equal_and_what_one_leaves_goes_to_the_others() -> None:
    links = Links(100.0, {"a": 100.0, "b": 30.0})
    assert shares(links, {"x": ("a", math.inf), "y": ("a", math.inf)}) == {"x": 50, "y": 50}
    assert shares(links, {"x": ("a", 10.0), "y": ("a", math.inf)}) == {"x": 10, "y": 90}
    found = shares(links, {"x": ("a", math.inf), "y": ("b", math.inf), "z": ("b", math.inf)})
    assert found == {"x": pytest.approx(70), "y": pytest.approx(15), "z": pytest.approx(15)}
    assert shares(links, {}) == {}


def test_shares_fill_the_links_and_never_more() -> None:
    draw = random.Random(7)
    for _ in range(300):
        links = Links(draw.uniform(1, 100), {"a": draw.uniform(1, 100), "b": draw.uniform(1, 100)})
        wanted = {
            str(number): (draw.choice("ab"), draw.choice([math.inf, draw.uniform(0, 50)]))
            for number in range(draw.randint(1, 9))
        }
        given = shares(links, wanted)
        assert sum(given.values()) <= links.host_bps * (1 + 1e-6)
        full = sum(given.values()) >= links.host_bps * (1 - 1e-6)
        for place, bps in links.destinations.items():
            there = [name for name in wanted if wanted[name][0] == place]
            assert sum(given[name] for name in there) <= bps * (1 + 1e-6)
            at_end = full or sum(given[name] for name in there) >= bps * (1 - 1e-6)
            for name in there:
                assert given[name] <= wanted[name][1] * (1 + 1e-6)
                assert at_end or given[name] >= wanted[name][1] * (1 - 1e-6)


def test_two_at_once_take_as_long_as_one_after_the_other_when_nothing_is_lost() -> None:
    guests = together(leaver("a", 1000), leaver("b", 1000))
    both = timetable(Policy("", ("a", "b"), 2), guests, LINK)
    assert [each.out_s for each in both.leavings] == pytest.approx([20, 20])
    one = timetable(Policy("", ("a", "b"), 1), guests, LINK)
    assert [each.out_s for each in one.leavings] == pytest.approx([10, 20])
    assert one.bytes == pytest.approx(2000 * MB)


def test_who_is_left_gets_the_whole_link() -> None:
    guests = together(leaver("small", 500), leaver("large", 1500))
    found = timetable(Policy("", ("small", "large"), 2), guests, LINK)
    assert found.of("small").out_s == pytest.approx(10)  # at half the link
    assert found.of("large").out_s == pytest.approx(20)  # 500 MB at half, 1000 MB alone
    assert found.most_bps == pytest.approx(100 * MB)


def test_a_guest_that_does_not_converge_at_its_share_goes_no_further() -> None:
    guests = together(leaver("busy", 1000, from_mbps=64), leaver("calm", 1000))
    found = timetable(Policy("", ("busy", "calm"), 2), guests, LINK)
    assert found.of("calm").out_s == pytest.approx(20)
    assert found.of("busy").out_s == pytest.approx(30)  # nothing done while it shares
    careful = timetable(Policy("", ("busy", "calm"), 2, careful=True), guests, LINK)
    assert careful.of("busy").out_s == pytest.approx(10)
    assert careful.last_out_s == pytest.approx(20)


def test_who_never_converges_blocks_the_others_unless_it_is_given_up_or_forced() -> None:
    never = leaver("never", 1000, math.inf)
    blocked = timetable(Policy("", ("never", "a"), 1), together(never, leaver("a", 1000)), LINK)
    assert math.isinf(blocked.of("a").begins_s)
    given_up = leaver("never", 1000, math.inf, give_up_after_s=5)
    found = timetable(Policy("", ("never", "a"), 1), together(given_up, leaver("a", 1000)), LINK)
    assert found.of("never").gave_up
    assert found.of("a").out_s == pytest.approx(15)
    forced = leaver("never", 1000, math.inf, force_after_s=5)
    found = timetable(Policy("", ("never", "a"), 1), together(forced, leaver("a", 1000)), LINK)
    assert (found.of("never").forced, found.of("never").out_s) == (True, 5)


def test_while_one_starts_the_link_is_free_for_another() -> None:
    guests = together(*(replace(leaver(name, 1000), start_s=3.0) for name in "ab"))
    one = timetable(Policy("", ("a", "b"), 1), guests, LINK)
    assert [each.out_s for each in one.leavings] == pytest.approx([13, 26])
    two = timetable(Policy("", ("a", "b"), 2), guests, LINK)
    assert [each.out_s for each in two.leavings] == pytest.approx([23, 23])
    forced = together(replace(leaver("never", 1000, math.inf, force_after_s=5), start_s=3.0))
    assert timetable(Policy("", ("never",), 1), forced, LINK).last_out_s == 8


def test_managers_give_up_by_memory() -> None:
    guests = together(leaver("never", 4 * 1073.741824, math.inf), leaver("a", 1000))
    nova = next(each for each in baselines(guests, LINK, 5) if each.name == "nova")
    assert timetable(nova, guests, LINK).of("a").begins_s == pytest.approx(3200)


def test_slow_destinations_are_used_at_the_same_time() -> None:
    links = Links(100 * MB, {"x": 50 * MB, "y": 50 * MB})
    guests = together(
        leaver("a", 1000, destination="x"), leaver("b", 1000, destination="x"),
        leaver("c", 1000, destination="y"), leaver("d", 1000, destination="y"),
    )  # fmt: skip
    found = choose(guests, links, 2, 41).chosen
    assert found.last_out_s == pytest.approx(40)
    assert timetable(Policy("", tuple(guests), 1), guests, links).last_out_s == pytest.approx(80)


@pytest.mark.parametrize("deadline_s", [5.0, 12.0, 30.0, 100.0])
def test_no_order_of_four_guests_keeps_the_deadline_for_more(deadline_s: float) -> None:
    guests = together(
        leaver("a", 200), leaver("b", 700, from_mbps=64), leaver("c", 900), leaver("never", 400, math.inf)
    )
    chosen = choose(guests, LINK, 3, deadline_s).chosen
    best = min(
        score(timetable(Policy("", order, count, careful=careful), guests, LINK), deadline_s)
        for order in itertools.permutations(guests)
        for count in (1, 2, 3)
        for careful in (False, True)
    )
    assert score(chosen, deadline_s) <= best


def some(draw: random.Random, count: int, places: tuple[str, ...]) -> dict[str, Leaver]:
    return together(
        *(
            leaver(
                str(number), draw.uniform(50, 3000), draw.choice([1, 8, 32, 64, 128, math.inf]),
                draw.choice(places), force_after_s=draw.choice([None, 200.0]),
            )
            for number in range(count)
        )
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_better_than_each_baseline_or_equal_and_never_more_than_the_link(seed: int) -> None:
    draw = random.Random(seed)
    places = ("",) if seed % 2 else ("x", "y")
    links = Links(100 * MB, dict.fromkeys(places, draw.choice([50, 100]) * MB))
    guests, deadline_s = some(draw, draw.randint(1, 8), places), draw.uniform(20, 300)
    choice = choose(guests, links, draw.randint(1, 4), deadline_s)
    for each in choice.baselines:
        assert score(choice.chosen, deadline_s) <= score(each, deadline_s), each.policy.name
        assert each.most_bps <= links.host_bps * (1 + 1e-6)
    assert choice.chosen.most_bps <= links.host_bps * (1 + 1e-6)
    assert sorted(choice.chosen.policy.order) == sorted(guests)
    assert {each.name for each in choice.chosen.leavings} == set(guests)
    for way in choice.chosen.leavings:
        if math.isfinite(way.out_s) and not way.forced:
            assert way.bytes <= (way.out_s - way.begins_s) * links.host_bps * (1 + 1e-6)
    assert choose(guests, links, choice.chosen.policy.at_once, deadline_s) == choose(
        guests, links, choice.chosen.policy.at_once, deadline_s
    )


def test_fifty_guests_are_planned_and_no_baseline_is_better() -> None:
    guests = some(random.Random(1), 50, ("x", "y", "z"))
    links = Links(1000 * MB, dict.fromkeys(("x", "y", "z"), 500 * MB))
    choice = choose(guests, links, 8, 300)
    assert all(score(choice.chosen, 300) <= score(each, 300) for each in choice.baselines)


def test_every_baseline_can_be_chosen() -> None:
    guests = some(random.Random(3), 5, ("",))
    assert tuple(each.name for each in baselines(guests, LINK, 3)) == BASELINES
    for name in BASELINES:
        assert choose(guests, LINK, 3, 100, name).chosen.policy.name == name


def test_no_more_at_once_than_allowed() -> None:
    guests = some(random.Random(3), 9, ("x", "y"))
    links = Links(100 * MB, {"x": 100 * MB, "y": 100 * MB})
    assert all(each.at_once <= 3 for each in baselines(guests, links, 3))
    policy = choose(guests, links, 3, 100).chosen.policy
    assert policy.at_once <= 3
    waiting, running = list(guests), ["0", "1"]
    assert len(policy.starts(waiting[2:], running, guests, links)) <= policy.at_once
