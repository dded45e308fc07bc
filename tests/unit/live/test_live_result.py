"""The record of a live migration: what may be said of which end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from pagethrift.live.live_result import Identity, build_result, identify
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.qmp import MigrateInfo, QmpEvent, QmpMonitor
from pagethrift.live.watch import Watch
from pagethrift.model.facts import StopAction, StopDecision
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.model.result import MigrationResult, Mode, Outcome, PageCounters
from tests.unit.live.monitors import fake_monitor, greeting

IDENTITY = Identity("10.0.2", "10.1.0", "pc-q35-10.0", "kvm")
DECISION = StopDecision(StopAction.SWITCH_OVER, "it fits", 0.25)
BEGAN_S = 1000.0


def watched(relayed: bool = True) -> Watch:
    """Return what was seen of a migration of 10 s whose first pass had 100 pages with content."""
    watch = Watch(BEGAN_S, 0.4, 40960, relayed)
    for after_s, passes, transferred_bytes, normal_pages in (
        (1, 1, 1000, 60), (5, 2, 3000, 100), (6, 2, 3500, 120),
    ):  # fmt: skip
        watch.on_info(
            MigrateInfo(
                status="active", total_bytes=4096000, dirty_sync_count=passes, downtime_s=0.2,
                transferred_bytes=transferred_bytes, normal_pages=normal_pages, zero_pages=900,
            ),
            BEGAN_S + after_s,
        )  # fmt: skip
    pages = PageCounters(full=90, delta=20, zero=900, skipped=10)
    status = RelayStatus(
        RelayState.DONE, cpu_s=1.5, peak_rss_bytes=1 << 20, first_round_bytes=700, retransferred_bytes=80,
        out_bytes=790, pages=pages,
    )  # fmt: skip
    watch.on_relay(status)
    watch.on_event(QmpEvent("MIGRATION", {"status": "completed"}, BEGAN_S + 10))
    return watch


def result_of(
    watch: Watch,
    outcome: Outcome = Outcome.COMPLETED,
    stopped_s: float | None = 1009.0,
    resumed_s: float | None = 1009.5,
    error: str = "",
    **options: Any,
) -> MigrationResult:
    values: dict[str, Any] = {"bandwidth_bps": 40960, "downtime_limit_s": 0.4} | options
    return build_result(
        MigrateOptions("/qmp", "host:1", **values), IDENTITY, watch, outcome,
        stopped_s=stopped_s, resumed_s=resumed_s, source_cpu_s=2.5, error=error, warnings=("careful",),
    )  # fmt: skip


def test_a_relayed_one() -> None:
    found = result_of(watched())
    assert (found.mode, found.strategy, found.outcome) == (Mode.RELAY, "pagethrift", Outcome.COMPLETED)
    assert (found.simulated, found.converged, found.forced_at_s) == (False, True, None)
    assert (found.total_time_s, found.downtime_s, found.qemu_downtime_s) == (10.0, 0.5, 0.2)
    assert (found.first_round_bytes, found.retransferred_bytes, found.transferred_bytes) == (700, 80, 790)
    assert (found.relay_cpu_s, found.relay_peak_rss_bytes, found.source_cpu_s) == (1.5, 1 << 20, 2.5)
    assert (found.ram_bytes, found.pages.delta, found.pages.skipped) == (4096000, 20, 10)
    assert [each.round for each in found.rounds] == [0, 1]
    assert (found.source_qemu, found.destination_qemu) == ("10.0.2", "10.1.0")
    assert (found.machine, found.accelerator) == ("pc-q35-10.0", "kvm")
    assert (found.warnings, found.downtime_limit_s, found.bandwidth_bps) == (("careful",), 0.4, 40960)
    assert found.host.cpus > 0


def test_a_plain_one_is_what_qemu_counts() -> None:
    found = result_of(watched(relayed=False), plain=True, features=PlainFeatures(auto_converge=True))
    assert (found.mode, found.strategy, found.parameters) == (Mode.PLAIN, "qemu", {})
    assert found.features == {"auto-converge": True}
    assert (found.relay_cpu_s, found.relay_peak_rss_bytes) == (None, None)
    assert (found.first_round_bytes, found.retransferred_bytes, found.transferred_bytes) == (3000, 500, 3500)


def test_the_bound_is_one_pass_over_the_pages_with_content() -> None:
    found = result_of(watched())
    assert (found.one_pass_bound_s, found.ratio) == (10.0, 1.0)
    unknown = result_of(watched(), bandwidth_bps=None)
    assert (unknown.one_pass_bound_s, unknown.ratio) == (None, None)


def test_a_failed_one_has_no_downtime_no_ratio_and_no_reason() -> None:
    watch = watched()
    watch.decision = DECISION
    found = result_of(watch, Outcome.FAILED, error="the link is cut")
    assert (found.outcome, found.error, found.converged) == (Outcome.FAILED, "the link is cut", False)
    assert (found.downtime_s, found.ratio) == (None, None)
    assert (found.switchover_reason, found.predicted_downtime_s) == ("", None)
    assert found.total_time_s == 10.0


@pytest.mark.parametrize(("stopped_s", "resumed_s"), [(None, 1009.5), (1009.0, None)])
def test_a_downtime_of_which_one_end_was_not_seen_is_not_known(
    stopped_s: float | None, resumed_s: float | None
) -> None:
    assert result_of(watched(), stopped_s=stopped_s, resumed_s=resumed_s).downtime_s is None


@pytest.mark.parametrize(
    ("decision", "reason", "predicted_s"),
    [
        (None, "QEMU's own rule", None),
        (DECISION, "it fits", 0.25),
        (StopDecision(StopAction.CONTINUE, "not yet", 7.5), "nothing was left to send", None),
    ],
    ids=["undecided", "decided", "overtaken"],
)
def test_why_it_switched_over(decision: StopDecision | None, reason: str, predicted_s: float | None) -> None:
    watch = watched()
    watch.decision = decision
    found = result_of(watch)
    assert (found.switchover_reason, found.predicted_downtime_s) == (reason, predicted_s)


def test_a_forced_one_did_not_converge() -> None:
    watch = watched()
    watch.forced_at_s = 8.0
    found = result_of(watch)
    assert (found.converged, found.forced_at_s, found.ratio) == (False, 8.0, 1.0)


def test_parameters_are_those_of_the_strategy_and_of_the_rule_that_replaced_its_own() -> None:
    given: dict[str, Any] = {"parameters": {"margin": 0.5}, "stop_parameters": {"limit_s": 2.0}}
    assert result_of(watched(), **given).parameters == {"margin": 0.5}
    assert result_of(watched(), stop="nova", **given).parameters == {
        "margin": 0.5, "stop": "nova", "stop.limit_s": 2.0,
    }  # fmt: skip


def test_one_that_has_no_end_yet_lasts_until_now() -> None:
    watch = Watch(time.monotonic() - 3.0, 0.4, None, True)
    before_unix_s = time.time()
    found = result_of(watch, Outcome.CANCELLED)
    assert 3.0 <= found.total_time_s < 8.0
    assert before_unix_s <= found.ended_unix_s <= time.time()
    assert found.ended_unix_s - found.began_unix_s == pytest.approx(found.total_time_s, abs=0.01)


@pytest.mark.parametrize(("enabled", "accelerator"), [(True, "kvm"), (False, "tcg")])
def test_both_qemus_are_asked_what_they_are(tmp_path: Path, enabled: bool, accelerator: str) -> None:
    answers = {"qom-get": "pc-q35-10.0-machine", "query-kvm": {"enabled": enabled, "present": True}}
    answers["query-name"] = {"name": "vm1"}

    async def run() -> tuple[Identity, Identity]:
        async with (
            fake_monitor(tmp_path / "s", greeting(10, 0), answers),
            fake_monitor(tmp_path / "d", greeting(10, 1)),
        ):
            source = await QmpMonitor.connect(str(tmp_path / "s"))
            destination = await QmpMonitor.connect(str(tmp_path / "d"))
            try:
                return await identify(source, destination), await identify(source, None)
            finally:
                await source.close()
                await destination.close()

    both, alone = asyncio.run(run())
    assert both == Identity("10.0.0", "10.1.0", "pc-q35-10.0", accelerator, guest="vm1")
    assert alone == Identity("10.0.0", "", "pc-q35-10.0", accelerator, guest="vm1")
