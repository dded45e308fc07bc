"""Whole simulated migrations against closed forms and against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagethrift.errors import UsageError
from pagethrift.model.channels import Compress
from pagethrift.model.facts import PageClass
from pagethrift.model.result import MigrationResult, Mode, Outcome
from pagethrift.simulator.simulate_options import FAR_SHARE
from pagethrift.simulator.virtual_channels import UNKNOWN_SHARE
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.strategies.stop.prediction import DEVICE_STATE_BYTES
from pagethrift.strategies.table import TABLE
from pagethrift.stream.packets import HEADER_BYTES, PACKET_PAGES
from pagethrift.trace.synthetic import Load
from tests.traces import SMALL_PAGES, made, run

FULL = 4104
SYNC = HEADER_BYTES + 8


def test_constant_rate_gives_geometric_rounds(tmp_path: Path) -> None:
    """D_{i+1} = r x t_i, t_i = D_i x 4104 / b, as long as nothing is written twice in a round."""
    rate = 1000.0
    trace = made(tmp_path, Load.ROUND_ROBIN, pages=16384, writes_per_s=rate, seconds=60.0)
    bandwidth = 12.5e6
    result = run(trace, "kvm-default", bandwidth, stop="xen-libxl", chunk_pages=0, downtime_limit_s=0.3)
    shrink = rate * FULL / bandwidth
    dirty = 16384.0
    for number in range(1, 5):
        dirty *= shrink
        assert result.rounds[number].dirty_pages == pytest.approx(dirty, rel=0.04, abs=12)
    total = 16384 * FULL / bandwidth * (1 - shrink**6) / (1 - shrink)
    assert result.total_time_s == pytest.approx(total, rel=0.05)


def test_a_faster_guest_on_a_faster_link_has_the_same_rounds(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ROUND_ROBIN, pages=16384, writes_per_s=1000.0, seconds=60.0)
    slow = run(trace, "kvm-default", 12.5e6, stop="xen-libxl")
    fast = run(trace.faster(10), "kvm-default", 125e6, stop="xen-libxl")
    assert fast.rounds[1].dirty_pages == pytest.approx(slow.rounds[1].dirty_pages, rel=0.15)
    assert fast.first_round_bytes == slow.first_round_bytes
    assert fast.warnings == ("scaled trace: the guest runs 10 times as fast as recorded",)
    for speed in (0, -1, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="speed"):
            trace.faster(speed)


def test_an_idle_guest_takes_one_pass(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE, used_pages=1024)
    for name in ("kvm-default", "pagethrift"):
        result = run(trace, name, compress=Compress.OFF)
        bytes_ = 1024 * FULL + (SMALL_PAGES - 1024) * 9
        assert result.first_round_bytes == bytes_
        assert result.retransferred_bytes == 0
        assert result.total_time_s == pytest.approx(bytes_ / 12.5e6, abs=0.25)
        assert result.one_pass_bound_s == pytest.approx(1024 * 4096 / 12.5e6)
    compressed = run(trace, "pagethrift", link=LinkSpec(12.5e6))
    packets = 1024 // PACKET_PAGES
    share = FAR_SHARE * UNKNOWN_SHARE
    assert compressed.first_round_bytes == (
        1024 * int(share * 4096) + packets * HEADER_BYTES + (SMALL_PAGES - 1024) * 9
    )


def test_a_guest_faster_than_the_link_never_converges(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=5000.0)
    given_up = run(trace, "kvm-default", give_up_s=30.0)
    assert (given_up.outcome, given_up.converged, given_up.downtime_s) == (Outcome.FAILED, False, None)
    assert "30 s" in given_up.error
    assert "times over" in given_up.warnings[0]
    forced = run(trace, "kvm-default", force_after_s=5.0)
    assert (forced.outcome, forced.converged) == (Outcome.COMPLETED, False)
    assert forced.forced_at_s == pytest.approx(5.0, abs=0.1)
    assert forced.downtime_s == pytest.approx(SMALL_PAGES * FULL / 12.5e6, rel=0.3)
    assert forced.predicted_downtime_s == pytest.approx(forced.downtime_s, rel=0.1)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("load", [Load.ZIPF, Load.FLIPPER, Load.COUNTERS])
def test_every_strategy_completes_and_only_the_literal_thesis_is_wrong(
    tmp_path: Path, name: str, load: Load
) -> None:
    trace = made(tmp_path, load, hot_pages=1024)
    result = run(trace, name, force_after_s=60.0)
    assert result.outcome is Outcome.COMPLETED
    assert result.simulated
    assert result.mode is Mode.RELAY
    assert result.strategy == name
    if name == "thesis-literal" and load is Load.FLIPPER:
        assert result.stale_pages
        assert "stale" in " ".join(result.warnings)
    else:
        assert result.stale_pages == 0
    assert MigrationResult.from_json(result.to_json()) == result


@pytest.mark.parametrize("name", TABLE)
def test_bytes_are_conserved(tmp_path: Path, name: str) -> None:
    trace = made(tmp_path, Load.ZIPF, hot_pages=1024)
    result = run(trace, name, force_after_s=60.0)
    assert sum(r.sent_bytes for r in result.rounds) == result.first_round_bytes + result.retransferred_bytes
    rest = result.transferred_bytes - result.first_round_bytes - result.retransferred_bytes
    assert DEVICE_STATE_BYTES <= rest <= DEVICE_STATE_BYTES + SMALL_PAGES // 8 + 20 * SYNC * result.channels
    for kind in ("full", "delta", "zero", "compressed"):
        assert sum(getattr(r.pages, kind) for r in result.rounds) == getattr(result.pages, kind)
    assert result.total_time_s >= result.transferred_bytes / 12.5e6
    assert all(one.began_s <= other.began_s for one, other in pairwise(result.rounds))


@pytest.mark.parametrize("name", sorted(TABLE))
def test_only_rows_that_may_compress_do(tmp_path: Path, name: str) -> None:
    trace = made(tmp_path, Load.ZIPF, hot_pages=1024)
    off = run(trace, name, force_after_s=60.0, compress=Compress.OFF)
    auto = run(trace, name, force_after_s=60.0)
    assert (off.channels, off.window_bytes, off.pages.compressed) == (0, 0, 0)
    if name == "pagethrift":
        assert (auto.channels, auto.window_bytes) == (2, 128 << 20)
        assert auto.transferred_bytes < 0.7 * off.transferred_bytes
    else:
        assert auto == off


@pytest.mark.parametrize("link_bps", [2e6, 12.5e6])
def test_a_larger_window_never_costs_more(tmp_path: Path, link_bps: float) -> None:
    """A guest that goes on writing to the same pages."""
    trace = made(tmp_path, Load.COUNTERS, pages=8192, used_pages=8192, hot_pages=4096, writes_per_s=4000.0)
    sent = [
        run(trace, "pagethrift", link_bps, window_log=log, force_after_s=30.0, compress=Compress.ON)
        for log in (20, 22, 24, 27)
    ]
    assert all(one.transferred_bytes <= 1.001 * other.transferred_bytes for other, one in pairwise(sent))
    assert sent[-1].transferred_bytes < sent[0].transferred_bytes


def test_a_fast_link_gets_plain_pages(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.UNIFORM)
    fast = run(trace, "pagethrift", 1.25e9)
    assert fast.pages.compressed == 0
    assert fast.total_time_s == pytest.approx(
        run(trace, "pagethrift", 1.25e9, compress=Compress.OFF).total_time_s, abs=0.01
    )
    demanded = run(trace, "pagethrift", 1.25e9, compress=Compress.ON)
    assert demanded.pages.compressed > 3000
    assert demanded.total_time_s > fast.total_time_s
    between = run(trace, "pagethrift", 2e8, compressor_bps=1e8)
    assert min(between.pages.compressed, between.pages.full) > 100, "as many as the compressor manages"


def test_a_rule_that_ends_in_post_copy_sends_plain_pages(tmp_path: Path) -> None:
    result = run(made(tmp_path), "pagethrift", 2e6, stop="post-copy")
    assert (result.channels, result.pages.compressed, result.stale_pages) == (0, 0, 0)


def test_the_same_again_is_the_same(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ZIPF)
    assert run(trace, "pagethrift") == run(trace, "pagethrift")


def test_auto_converge_throttles_until_it_fits(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=4000.0, seconds=30.0)
    plain = run(trace, "kvm-default", force_after_s=120.0)
    throttled = run(trace, "kvm-auto-converge", force_after_s=120.0)
    assert not plain.converged
    assert throttled.converged


def test_post_copy_moves_once_and_counts_faults(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=4000.0)
    result = run(trace, "kvm-post-copy")
    assert result.downtime_s is not None
    assert result.downtime_s < 0.1
    assert result.total_time_s == pytest.approx(SMALL_PAGES * FULL / 12.5e6, rel=0.1)
    assert result.pages.full == SMALL_PAGES
    assert "faults" in result.warnings[0]


def test_what_the_kernel_holds_without_a_relay_is_downtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=4000.0)

    def downtime_s(name: str) -> float:
        found = run(trace, name, force_after_s=5.0).downtime_s
        assert found is not None
        return found

    few, with_relay = downtime_s("kvm-default"), downtime_s("thesis")
    monkeypatch.setattr("pagethrift.simulator.virtual_migration.SOCKET_BYTES", 5e6)
    assert downtime_s("kvm-default") - few == pytest.approx((5e6 - 1.25e6) / 12.5e6, abs=0.1)
    assert downtime_s("thesis") == with_relay


def test_post_copy_waits_for_a_slow_source(tmp_path: Path) -> None:
    """Half of the link's speed: the source takes as long as it takes, twice the link's time."""
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=4000.0)
    result = run(trace, "kvm-post-copy", source_bps=6.25e6)
    assert result.total_time_s == pytest.approx(SMALL_PAGES * 4096 / 6.25e6, rel=0.05)


def test_the_window_before_round_0_runs_on_the_guests_clock(tmp_path: Path) -> None:
    """A guest ten times as fast on a link ten times as fast is the same migration in a tenth of the time."""
    trace = made(tmp_path, Load.ROUND_ROBIN, writes_per_s=400.0)
    slow = run(trace, "tpo")
    fast = run(trace.faster(10), "tpo", link=LinkSpec(125e6), downtime_limit_s=0.03)
    assert slow.rounds[0].pages.full < SMALL_PAGES
    assert fast.rounds[0].pages.full == pytest.approx(slow.rounds[0].pages.full, rel=0.05)


def test_counters_are_cheap_as_deltas(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.COUNTERS, writes_per_s=4000.0)
    ours = run(trace, "pagethrift", force_after_s=60.0, compress=Compress.OFF)
    xbzrle = run(trace, "kvm-xbzrle", force_after_s=60.0)
    plain = run(trace, "kvm-default", force_after_s=60.0)
    assert ours.converged
    assert xbzrle.converged
    assert not plain.converged
    assert ours.retransferred_bytes < xbzrle.retransferred_bytes < plain.retransferred_bytes / 5
    assert ours.pages.delta > 1000


def test_a_small_xbzrle_cache_misses(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.COUNTERS, writes_per_s=2000.0)
    large = run(trace, "kvm-xbzrle", force_after_s=60.0)
    small = run(trace, "kvm-xbzrle", force_after_s=60.0, parameters={"cache_mib": 1})
    assert small.retransferred_bytes > 1.5 * large.retransferred_bytes


def test_xen_skips_what_is_dirty_again(tmp_path: Path) -> None:
    """A peek sees something from the second batch of 1024 pages of a round on."""
    trace = made(tmp_path, Load.ZIPF, pages=16384, writes_per_s=20000.0)
    with_peek = run(trace, "xen", force_after_s=60.0)
    assert max(r.held_pages for r in with_peek.rounds) > 50
    as_live = run(trace, "xen", force_after_s=60.0, as_live=True)
    assert as_live.stale_pages == 0


def test_free_pages_are_left_out(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE)
    classes = np.full(SMALL_PAGES, PageClass.ANONYMOUS, np.uint8)
    classes[:1000] = PageClass.FREE
    classes[1000:1500] = PageClass.CACHE
    result = run(replace(trace, page_class=classes), "wang")
    assert result.pages.full == SMALL_PAGES - 1500
    assert result.stale_pages == 0
    assert "page classes" in run(trace, "wang").warnings[0]


def test_a_free_page_is_in_use_once_it_is_written(tmp_path: Path) -> None:
    """3000 pages are free, the guest takes some of the first 1000 of them while it migrates."""
    trace = made(tmp_path, Load.UNIFORM, hot_pages=1000, writes_per_s=300.0)
    classes = np.full(SMALL_PAGES, PageClass.ANONYMOUS, np.uint8)
    classes[:3000] = PageClass.FREE
    trace = replace(trace, page_class=classes)
    plain, wang = run(trace, "kvm-default"), run(trace, "wang")
    assert plain.stale_pages == wang.stale_pages == 0
    assert wang.transferred_bytes is not None
    assert plain.transferred_bytes is not None
    assert wang.transferred_bytes < plain.transferred_bytes - 2000 * 4096
    assert wang.pages.full > SMALL_PAGES - 3000
    assert wang.total_time_s is not None
    assert plain.total_time_s is not None
    assert wang.total_time_s < plain.total_time_s / 2
    warm = run(trace, "wang", warm_up_s=5.0)
    assert wang.rounds[0].dirty_pages == SMALL_PAGES - 3000
    assert warm.rounds[0].dirty_pages > wang.rounds[0].dirty_pages + 500


def test_delay_and_a_slower_link_cost_what_they_should(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.IDLE)
    near, far = run(trace, "kvm-default"), run(trace, "kvm-default", link=LinkSpec(12.5e6, delay_s=0.05))
    assert near.downtime_s is not None
    assert far.downtime_s == pytest.approx(near.downtime_s + 0.05)
    assert far.total_time_s == pytest.approx(near.total_time_s + 0.1)
    slower = run(trace, "kvm-default", link=LinkSpec(12.5e6, steps=((0.5, 6.25e6),)))
    assert slower.total_time_s == pytest.approx(2 * near.total_time_s - 0.5, rel=0.1)


def test_the_go_takes_a_moment(tmp_path: Path) -> None:
    trace = made(tmp_path, Load.UNIFORM)
    result = run(trace, "pagethrift", go_delay_s=0.5)
    quick = run(trace, "pagethrift", go_delay_s=0.0)
    assert result.total_time_s > quick.total_time_s + 0.3


@pytest.mark.parametrize(
    "options",
    [
        {"downtime_limit_s": 0.0}, {"give_up_s": 0.0}, {"link": LinkSpec(0.0)}, {"go_delay_s": -1.0},
        {"channels": 0}, {"channels": 17}, {"window_log": 19}, {"window_log": 28},
        {"compressor_bps": 0.0}, {"far_share": 0.0}, {"near_share": -1.0},
    ],
)  # fmt: skip
def test_impossible_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(made(tmp_path, Load.IDLE), "kvm-default", **options)
