"""Whole migrations between two real QEMUs: how they end well."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.live.migrate import migrate
from pagethrift.live.migrate_options import PlainFeatures
from pagethrift.live.watch import Progress
from pagethrift.model.channels import Compress
from pagethrift.model.result import MigrationResult, Mode, Outcome
from tests.qemu.live.pair import After, Pair, running_pair, slow_link
from tests.qemu.machines import QemuLike, differing_pages


def through_slow_link(pair: Pair, decider: After | None = None, **changes: Any) -> MigrationResult:
    async def run() -> MigrationResult:
        async with slow_link(pair) as options:
            return await migrate(replace(options, **changes), decider=decider)

    return asyncio.run(run())


def test_plain(pair: Pair, folder: Path) -> None:
    seen: list[Progress] = []
    options = pair.options(plain=True, result_path=folder / "result.json", bandwidth_bps=125_000_000)
    result = asyncio.run(migrate(options, seen.append))
    assert pair.states() == ("postmigrate", "running")
    assert (result.mode, result.strategy, result.outcome, result.converged) == (
        Mode.PLAIN, "qemu", Outcome.COMPLETED, True,
    )  # fmt: skip
    assert result.downtime_s is not None
    assert result.qemu_downtime_s is not None
    assert 0 < result.downtime_s < result.total_time_s
    assert result.transferred_bytes >= 7 << 20
    assert result.one_pass_bound_s is not None
    assert result.source_cpu_s is not None
    assert result.rounds[0].began_s >= 0
    assert seen[-1].phase == "completed"
    assert MigrationResult.from_json((folder / "result.json").read_text()) == result


def test_plain_with_qemus_own_features(pair: Pair) -> None:
    features = PlainFeatures(xbzrle_cache_bytes=64 << 20, auto_converge=True, max_bandwidth_bps=8 << 20)
    result = asyncio.run(migrate(pair.options(plain=True, features=features, force_after_s=8.0)))
    assert result.features["xbzrle-cache-size"] == 64 << 20
    assert pair.states() == ("postmigrate", "running")
    capabilities = pair.source.qmp.execute("query-migrate-capabilities")
    assert not [c for c in capabilities if c["state"]]
    assert pair.parameter("max-bandwidth") == 128 << 20


def test_plain_multifd(pair: Pair) -> None:
    features = PlainFeatures(multifd_channels=2)
    result = asyncio.run(migrate(pair.options(plain=True, features=features)))
    assert result.outcome is Outcome.COMPLETED
    assert pair.states() == ("postmigrate", "running")


def test_plain_post_copy(pair: Pair) -> None:
    features = PlainFeatures(post_copy=True, max_bandwidth_bps=16 << 20)
    result = asyncio.run(migrate(pair.options(plain=True, features=features)))
    assert result.downtime_s is not None
    assert result.downtime_s < result.total_time_s
    assert pair.states() == ("postmigrate", "running")


def test_plain_forced(pair: Pair) -> None:
    features = PlainFeatures(max_bandwidth_bps=4 << 20)
    options = pair.options(plain=True, features=features, force_after_s=0.5, downtime_limit_s=0.001)
    result = asyncio.run(migrate(options))
    assert (result.outcome, result.converged) == (Outcome.COMPLETED, False)
    assert result.forced_at_s == pytest.approx(0.5, abs=0.3)
    assert pair.parameter("downtime-limit") == 300


def test_relay(pair: Pair) -> None:
    decider = After(round=3)
    result = through_slow_link(
        pair, decider=decider, parameters={"margin": 0.5}, compress=Compress.OFF
    )  # compressed, this guest may have nothing left to send before round 3
    assert pair.states() == ("postmigrate", "running")
    assert (result.mode, result.strategy, result.converged) == (Mode.RELAY, "pagethrift", True)
    assert result.switchover_reason == "round 3"
    assert result.parameters["margin"] == 0.5
    assert result.downtime_s is not None
    assert result.downtime_s < 2
    assert result.relay_cpu_s
    assert result.relay_peak_rss_bytes
    assert result.pages.delta + result.pages.skipped > 0
    assert len(result.rounds) >= 4
    assert all(r.dirty_pages > 0 for r in result.rounds[:3])
    assert pair.parameter("downtime-limit") == 300
    facts = decider.seen
    assert facts is not None
    assert facts.total_pages >= 64 << 8
    assert facts.dirty_pages_per_s > 0
    assert len(facts.round_dirty_pages) == len(facts.round_sent_bytes) == facts.round + 1


def test_relay_with_the_strategys_own_rule(pair: Pair) -> None:
    result = through_slow_link(pair, force_after_s=20.0)
    assert pair.states() == ("postmigrate", "running")
    assert result.converged
    assert result.predicted_downtime_s is not None


def test_kvm_default_leaves_the_decision_to_qemu(pair: Pair) -> None:
    result = through_slow_link(pair, strategy="kvm-default")
    assert pair.states() == ("postmigrate", "running")
    assert result.switchover_reason == "QEMU's own rule"


def test_relay_forced_although_the_rule_never_stops(pair: Pair) -> None:
    # Compressed, this guest may have nothing left to send before it is forced.
    result = through_slow_link(pair, decider=After(round=None), force_after_s=2.0, compress=Compress.OFF)
    assert (result.outcome, result.converged) == (Outcome.COMPLETED, False)
    assert result.forced_at_s == pytest.approx(2.0, abs=0.3)
    assert pair.states() == ("postmigrate", "running")


def test_guest_can_be_left_paused_and_then_memory_is_equal(pair: Pair) -> None:
    result = through_slow_link(pair, decider=After(round=2), start_destination=False)
    assert pair.states() == ("postmigrate", "paused")
    assert differing_pages(pair.source.dump_ram(), pair.destination.dump_ram()) == []
    assert result.downtime_s is None
    assert result.qemu_downtime_s is not None


@pytest.mark.parametrize("deferred", [True, False])
def test_destination_without_dash_s_waits_for_us(binary: QemuLike, folder: Path, deferred: bool) -> None:
    incoming = "defer" if deferred else f"unix:{folder}/link.sock"
    with running_pair(binary, folder, incoming=incoming, paused=False) as pair:
        result = asyncio.run(migrate(pair.options(plain=True, start_destination=False)))
        assert result.outcome is Outcome.COMPLETED
        assert pair.states() == ("postmigrate", "paused")


def test_paused_guest_stays_paused(pair: Pair) -> None:
    pair.source.qmp.execute("stop")
    result = asyncio.run(migrate(pair.options(), decider=After(round=None)))
    assert result.outcome is Outcome.COMPLETED
    assert pair.states()[1] in ("paused", "prelaunch")


def test_destination_without_a_monitor(pair: Pair) -> None:
    link = pair.options().destination
    pair.destination.qmp.execute("migrate-incoming", uri=link)
    result = asyncio.run(migrate(replace(pair.options(), destination_qmp=None), decider=After(round=1)))
    assert result.outcome is Outcome.COMPLETED
    assert result.downtime_s is None
    assert result.destination_qemu == ""
    assert json.loads(result.to_json())["downtime_s"] is None
