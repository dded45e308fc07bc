"""The pilot: it decides on what the relay says now, and everybody is told the same predicted downtime."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagethrift.errors import LinkError, UsageError
from pagethrift.live.live_result import Identity, build_result
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures, switchover_deadline
from pagethrift.live.pilot import Pilot
from pagethrift.live.qmp import MigrateInfo, QmpEvent
from pagethrift.live.watch import Progress, Watch
from pagethrift.model.facts import StopAction, StopDecision, StopFacts
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import Outcome
from pagethrift.strategies.stop.prediction import predicted_downtime_s
from pagethrift.strategies.stop.rules import DowntimePredicted

LINK_BPS = 10_000_000.0


class Relay:
    """Says on request what it has not sent yet."""

    failed = False

    def __init__(self, watch: Watch, unsent_bytes: int) -> None:
        self.went = False
        self._watch = watch
        self._unsent_bytes = unsent_bytes

    async def refresh(self) -> None:
        self._watch.on_relay(RelayStatus(RelayState.RAM, link_bps=LINK_BPS, unsent_bytes=self._unsent_bytes))

    def tell_go(self) -> None:
        self.went = True


class Asked:
    """The rule of the default strategy, and what it was asked."""

    def __init__(self) -> None:
        self.facts: list[StopFacts] = []
        self.decisions: list[StopDecision] = []
        self._rule = DowntimePredicted()

    def decide(self, facts: StopFacts) -> Any:
        self.facts.append(facts)
        self.decisions.append(self._rule.decide(facts))
        return self.decisions[-1]


class Scene:
    """A pilot of a relayed migration of 1000 pages that has run for a second, without QEMU and relay."""

    def __init__(self, tmp_path: Path, rule: Any, unsent_bytes: int = 0, **options: Any) -> None:
        self.now_s = time.monotonic()
        self.options = MigrateOptions(str(tmp_path / "qmp"), "unix:/nowhere", **options)
        self.watch = Watch(self.now_s - 1.0, self.options.downtime_limit_s, None, True)
        self.relay = Relay(self.watch, unsent_bytes)
        self.shown: list[Progress] = []

        async def set_parameters(values: object) -> None:
            assert values

        settings = SimpleNamespace(set=set_parameters, parameters={})
        self.executed: list[str] = []

        async def execute(command: str) -> None:
            self.executed.append(command)

        source = SimpleNamespace(version=(10, 0, 2), execute=execute)
        ends: Any = SimpleNamespace(
            settings=settings, source=source, relay=self.relay, bitmap_bytes=0, warnings=[]
        )
        self.pilot = Pilot(self.options, ends, self.watch, rule, self.shown.append, asyncio.Event())

    def see(self, passes: int, remaining_pages: int) -> None:
        if passes > 1:
            self.watch.on_event(QmpEvent("MIGRATION_PASS", {"pass": passes}, self.now_s))
        self.watch.on_info(
            MigrateInfo(
                status="active",
                total_bytes=4096000,
                dirty_sync_count=passes,
                remaining_bytes=remaining_pages * 4096,
            ),
            self.now_s,
        )
        self.watch.on_relay(RelayStatus(RelayState.RAM, link_bps=LINK_BPS))

    @property
    def allowed_s(self) -> float:
        """How long the switchover may take."""
        assert self.pilot.helm.deadline_s is not None
        return self.pilot.helm.deadline_s - time.monotonic()


def decided(unsent_bytes: int, tmp_path: Path) -> tuple[bool, Asked]:
    """Let a pilot decide in round 1, when the relay's last word was "nothing unsent"."""
    rule = Asked()
    scene = Scene(tmp_path, rule, unsent_bytes)
    scene.see(2, 1)
    asyncio.run(scene.pilot.helm.steer(scene.now_s))
    return scene.relay.went, rule


def test_what_the_relay_has_swallowed_meanwhile_counts(tmp_path: Path) -> None:
    went, rule = decided(5_000_000, tmp_path)
    assert not went, "0.5 s of link wait in the relay, 0.3 s are allowed"
    assert [facts.unsent_bytes for facts in rule.facts] == [0, 5_000_000]


def test_goes_when_that_still_fits(tmp_path: Path) -> None:
    went, rule = decided(1_000_000, tmp_path)
    assert went
    assert len(rule.facts) == 2


def test_rule_progress_result_and_deadline_have_one_prediction(tmp_path: Path) -> None:
    """30 s of link wait in the relay, and the operator allows 40."""
    rule = Asked()
    scene = Scene(tmp_path, rule, unsent_bytes=300_000_000, downtime_limit_s=40.0)
    scene.see(2, 700)
    before = scene.watch.progress(scene.now_s).predicted_downtime_s
    asked = scene.watch.facts(scene.now_s)
    assert asked is not None
    assert before == predicted_downtime_s(asked)

    asyncio.run(scene.pilot.helm.steer(scene.now_s))

    stop_rules = rule.decisions[-1].predicted_downtime_s
    assert stop_rules == predicted_downtime_s(rule.facts[-1])
    assert stop_rules is not None
    assert stop_rules > 30
    assert scene.watch.progress(time.monotonic()).predicted_downtime_s == stop_rules
    assert scene.allowed_s == pytest.approx(switchover_deadline(40.0, stop_rules), abs=1.0)
    result = build_result(
        scene.options,
        Identity("", "", "", ""),
        scene.watch,
        Outcome.COMPLETED,
        stopped_s=None,
        resumed_s=None,
        source_cpu_s=None,
    )
    assert result.predicted_downtime_s == stop_rules


@pytest.mark.parametrize("passes", [1, 2])
def test_a_forced_switchover_has_that_prediction_too_or_a_bound(tmp_path: Path, passes: int) -> None:
    """In the first pass there is none; the time for all pages in full keeps it from being broken off."""
    scene = Scene(tmp_path, None, force_after_s=0.5)
    scene.see(passes, 700)
    scene.watch.relay = RelayStatus(RelayState.RAM, link_bps=100_000.0)
    expected_s = scene.watch.predicted_downtime_s(scene.now_s)
    bound_s = scene.watch.longest_downtime_s()
    assert (expected_s is None) == (passes == 1)
    assert bound_s is not None
    assert bound_s > 40
    asyncio.run(scene.pilot._steer(scene.now_s))
    assert scene.watch.decision is not None
    assert scene.watch.decision.predicted_downtime_s == expected_s
    assert scene.allowed_s == pytest.approx(switchover_deadline(0.3, expected_s or bound_s), abs=1.0)


def test_a_guest_that_never_fits_is_said_to_the_operator(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asked(), unsent_bytes=30_000_000)
    for passes in range(2, 14):
        scene.see(passes, 700)
        asyncio.run(scene.pilot.helm.steer(scene.now_s))
    scene.pilot.helm.show(scene.now_s)
    assert not scene.relay.went
    said = scene.shown[-1].warning
    assert said.startswith("this does not converge: after ")
    assert "--force-after" in said


def test_a_source_that_does_not_answer_is_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asked())
    scene.pilot.poll.asked_s = scene.now_s
    scene.pilot.helm.show(scene.now_s + 9, scene.pilot.silence(scene.now_s + 9))
    scene.pilot.helm.show(scene.now_s + 11, scene.pilot.silence(scene.now_s + 11))
    said = [progress.warning for progress in scene.shown]
    assert said == ["", "the source has not answered for 11 s: it may be stopped or overloaded"]


@pytest.mark.parametrize("action", [StopAction.SET_THROTTLE, StopAction.START_POST_COPY])
def test_what_cannot_be_carried_out_live_is_not_passed_over(tmp_path: Path, action: StopAction) -> None:
    rule = SimpleNamespace(decide=lambda facts: StopDecision(action))
    scene = Scene(tmp_path, rule)
    scene.see(2, 1)
    with pytest.raises(UsageError, match=f"'{action.value}', which cannot be carried out live"):
        asyncio.run(scene.pilot.helm.steer(scene.now_s))


@pytest.mark.parametrize("force_after_s", [None, 0.5])
def test_post_copy_begins_once_unless_the_operators_time_is_over(
    tmp_path: Path, force_after_s: float | None
) -> None:
    """No planner is asked, though one is there and everything would fit."""
    rule = Asked()
    scene = Scene(tmp_path, rule, features=PlainFeatures(post_copy=True), force_after_s=force_after_s)
    scene.see(1, 1)
    if force_after_s is None:
        asyncio.run(scene.pilot._steer(scene.now_s))
        assert scene.executed == [], "only from the second pass on"
    scene.see(2, 1)
    for _ in range(2):
        asyncio.run(scene.pilot._steer(scene.now_s))
    assert rule.facts == []
    assert scene.pilot.switchover.gone == (force_after_s is not None)
    assert scene.executed == ([] if force_after_s else ["migrate-start-postcopy"])


def test_what_the_operator_allows_is_the_deadline_and_its_end_is_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asked(), switchover_deadline_s=2.0, timeout_s=60.0)
    scene.see(2, 1)
    scene.pilot.helm.raise_if_late(scene.now_s + 50, scene.watch.began_s)
    asyncio.run(scene.pilot.helm.steer(scene.now_s))
    assert scene.allowed_s == pytest.approx(2.0, abs=1.0)
    with pytest.raises(LinkError, match="--switchover-deadline"):
        scene.pilot.helm.raise_if_late(scene.now_s + 50, scene.watch.began_s)
    with pytest.raises(LinkError, match=r"within 60 s \(--timeout\)"):
        scene.pilot.helm.raise_if_late(scene.now_s + 61, scene.watch.began_s)
