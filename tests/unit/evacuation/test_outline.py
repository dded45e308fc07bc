"""The plan worked out: honest about who will not make it, and who fits under the cap of pre-staging."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pagethrift.evacuation.advice import Verdict
from pagethrift.evacuation.costs import Costs
from pagethrift.evacuation.link import Links
from pagethrift.evacuation.outline import Outline, outline
from pagethrift.evacuation.plan import Guest, Plan, Prestage, When
from pagethrift.evacuation.staging import after_staging, stage
from tests.unit.evacuation.guests import MB, costs, leaver, together

LINK = Links(100 * MB, {"": 100 * MB})


def plan(*guests: Guest, prestage_bps: float | None = None) -> Plan:
    held = Prestage(int(prestage_bps), None) if prestage_bps is not None else None
    return Plan(guests, LINK, When(after_s=60.0), prestage=held)


def made(deadline_s: float, known: dict[str, Costs], **more: float | None) -> Outline:
    guests = [Guest(name, "", qmp=f"/{name}", force_after_s=more.get("force_after_s")) for name in known]
    return outline(
        plan(*guests, prestage_bps=more.get("prestage_bps")),
        {name: (each, 1e9) for name, each in known.items()}, deadline_s, more.get("switch_s"),
    )  # fmt: skip


def test_in_time_perhaps_and_not() -> None:
    found = made(25.0, {"a": costs(1000), "b": costs(1000, spread=2.0)})
    verdicts = {each.name: each.verdict for each in found.outlooks}
    assert verdicts == {"a": Verdict.YES, "b": Verdict.PERHAPS}
    late = made(15.0, {"a": costs(1000), "b": costs(1000, spread=2.0)})
    (no,) = (each for each in late.outlooks if each.verdict is Verdict.NO)
    assert no.helps
    assert no.helps[0].startswith("later: a deadline ")


def test_who_never_converges_is_said_with_what_would_help() -> None:
    busy = replace(costs(1000, from_mbps=128), throttled=True)
    (found,) = made(1000.0, {"busy": busy}).outlooks
    assert (found.verdict, found.out_s) == (Verdict.NO, math.inf)
    assert [each.partition(":")[0] for each in found.helps] == ["link", "throttle", "force", "later"]
    assert "it converges from 1.02 Gbit/s on, and has 800 Mbit/s" in found.helps[0]
    (forced,) = made(1000.0, {"busy": busy}, force_after_s=30.0).outlooks
    assert (forced.verdict, forced.out_s) == (Verdict.FORCED, 31.0)
    assert [each.partition(":")[0] for each in forced.helps] == ["link", "throttle", "limit", "later"]


def test_who_converges_only_if_all_goes_well_is_said_so() -> None:
    points = tuple(
        replace(each, estimate=replace(each.estimate, total_s=replace(each.estimate.total_s, high=math.inf)))
        for each in costs(1000).points
    )
    (found,) = made(1000.0, {"a": Costs(points)}).outlooks
    assert (found.verdict, found.worst_out_s) == (Verdict.PERHAPS, math.inf)
    assert found.helps[0].startswith("forecast: if it writes as much as the upper end")


def test_a_limit_below_what_a_guest_can_do_counts_as_no_convergence() -> None:
    guest = Guest("a", "", qmp="/a", downtime_limit_s=0.05)
    (found,) = outline(plan(guest), {"a": (costs(1000), 1e9)}, 100.0).outlooks
    assert found.verdict is Verdict.NO


def test_guests_that_are_out_already_are_not_planned() -> None:
    both = plan(Guest("a", "", qmp="/a"), Guest("b", "", qmp="/b"))
    found = outline(both, {"b": (costs(1000), 1e9)}, 100.0)
    assert [each.name for each in found.outlooks] == ["b"]
    assert outline(both, {}, 100.0).outlooks == ()


def test_as_many_are_staged_as_the_cap_keeps_near_their_end() -> None:
    guests = together(
        *(leaver(name, 100, need) for name, need in (("a", 8), ("b", 8), ("c", 16), ("never", math.inf)))
    )
    found = stage(guests, LINK, 20 * MB, 2, None)
    assert set(found.staged) == {"a", "b"}
    assert found.kept_bps <= 20 * MB
    assert found.before.most_bps <= 20 * MB * (1 + 1e-9)
    assert found.ready_s == pytest.approx(200 / 20)
    assert stage(guests, LINK, 20 * MB, 2, 1.0).staged == ()
    after = after_staging(guests, found, LINK)
    for name in ("a", "b"):
        at, before = after[name].costs.at(100 * MB), guests[name].costs.at(100 * MB)
        assert at is not None
        assert before is not None
        assert at.total_s.median <= before.total_s.median
    assert after["c"] == guests["c"]


def test_with_staging_times_count_from_the_word_to_go() -> None:
    known = {"a": costs(3000), "b": costs(3000)}
    found = made(100.0, known, prestage_bps=50 * MB, switch_s=90.0)
    assert (
        found.staging is None or set(found.staging.staged) == set()
    )  # 120 s at half the link: not ready by then
    found = made(200.0, known, prestage_bps=50 * MB, switch_s=150.0)
    assert found.staging is not None
    assert set(found.staging.staged) == {"a", "b"}
    assert found.deadline_s == 50.0
    assert found.choice.chosen.last_out_s < 5.0
    assert all(each.verdict is Verdict.YES for each in found.outlooks)
