"""One real Linux guest under memcached load, migrated through the relay between two hosts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.lab.compare import compare
from pagethrift.lab.guest.machine import GuestSpec
from pagethrift.lab.link.spec import LinkSpec, Security
from pagethrift.lab.load.spec import LoadSpec
from pagethrift.lab.run import Event
from pagethrift.lab.scenario import Scenario, parse_mode
from pagethrift.model.result import Outcome
from pagethrift.model.run_result import LinkChange
from pagethrift.report.runs import from_run_result
from pagethrift.report.summary import rows

SMALL = Scenario(
    name="small",
    guest=GuestSpec(memory_bytes=256 << 20, memcached_bytes=64 << 20),
    link=LinkSpec(bandwidth_bps=25_000_000),
    load=LoadSpec(keys=10_000, counters=1_000, increment_share=0.2, rate_per_s=1500.0),
    force_after_s=60.0,
    warm_up_s=2.0,
    after_s=1.0,
    modes=(parse_mode("pagethrift"),),
    check_ram=(parse_mode("pagethrift"),),
)


def test_guest_moves_and_ram_is_equal(tmp_path: Path) -> None:
    seen: list[Event] = []
    results = compare(SMALL, tmp_path, seen.append)
    timed, checked = results
    assert timed.migration.converged
    assert timed.lost_requests == 0
    assert checked.lost_requests == 0
    assert timed.client["counters"]["acknowledged"] > 1000
    assert timed.client["counters"]["lost"] == timed.client["counters"]["unchecked_connections"] == 0
    assert timed.dirty_rate_bytes_per_s is not None
    assert timed.dirty_rate_bytes_per_s >= SMALL.min_dirty_rate_bps
    assert abs(timed.client["began_unix_s"] - timed.migration.began_unix_s) < 60
    assert checked.ram is not None
    assert checked.ram.differing_pages == 0
    assert timed.migration.retransferred_bytes > 0
    assert timed.migration.downtime_s is not None
    assert timed.migration.blackout_s is not None
    assert timed.migration.transferred_bytes >= timed.migration.first_round_bytes
    after = next(phase for phase in timed.client["phases"] if phase["name"] == "after")
    assert after["operations_per_s"] > 0.8 * SMALL.load.rate_per_s
    assert [row.mode for row in rows(map(from_run_result, results))] == ["pagethrift"]
    assert any(event.progress for event in seen)
    again = compare(replace(SMALL, repetitions=1), tmp_path, seen.append)
    assert [result.migration for result in again] == [result.migration for result in results]


@pytest.mark.slow
def test_28_a_guest_whose_free_memory_is_cleared_lives(tmp_path: Path) -> None:
    """The scenario of docs/faults.md: with 768 MiB the kernel's reserve for huge pages is large."""
    scenario = replace(
        SMALL,
        guest=GuestSpec(memory_bytes=768 << 20, memcached_bytes=128 << 20, clear_free=True),
        link=LinkSpec(bandwidth_bps=125_000_000),
        load=LoadSpec(keys=50_000, value_bytes=1400, set_share=0.8, rate_per_s=1500.0),
        check_ram=(),
    )
    (result,) = compare(scenario, tmp_path, lambda event: None)
    assert result.migration.outcome is Outcome.COMPLETED
    assert result.lost_requests == 0


@pytest.mark.parametrize(
    ("mode", "security", "disk_on"),
    [
        pytest.param("plain", Security.SSH, "directory", marks=pytest.mark.long),
        ("pagethrift", Security.TLS, "nfs"),
    ],
)
def test_a_written_disk_moves_through_a_tunnel_over_a_changing_link(
    tmp_path: Path, mode: str, security: Security, disk_on: str
) -> None:
    link = LinkSpec(12_500_000, (LinkChange(0.5, 6_250_000), LinkChange(1.5, 25_000_000)), 0.005, security)
    chosen = parse_mode(mode)
    guest = replace(SMALL.guest, disk_bytes=64 << 20, disk_on=disk_on)
    scenario = replace(SMALL, guest=guest, link=link, modes=(chosen,), check_ram=())
    (result,) = compare(scenario, tmp_path, lambda event: None)
    assert result.lost_requests == 0
    assert result.link is not None
    assert (result.link.security, result.link.changes) == (security.value, link.changes)
    assert result.link.delay_by in ("netem", "forwarder")
    assert result.disk is not None
    assert result.disk.fsck_clean
    assert result.disk.files_wrong == 0
    assert result.disk.files_checked > 0
    assert result.disk.written_during_bytes > 0
    assert result.cpu_s is not None
    assert result.cpu_s.keys() >= {"vcpu", "migration", "main", "destination", "tunnel"}
    assert result.cpu_s["vcpu"] > 0
    assert result.cpu_s["tunnel"] > 0
    assert ("relay" in result.cpu_s) == (mode != "plain")
    assert result.peak_rss_bytes is not None
    assert min(result.peak_rss_bytes.values()) > 1 << 20
    # what crossed the link is more than QEMU's stream: the tunnel's framing, and Ethernet's
    stream_bytes = result.migration.first_round_bytes + result.migration.retransferred_bytes
    assert result.migration.transferred_bytes > stream_bytes


@pytest.mark.parametrize("mode", ["pagethrift+tls", "multifd-zstd+tls", "alone"])
def test_ram_is_equal_encrypted_and_with_a_relay_that_nobody_drives(tmp_path: Path, mode: str) -> None:
    chosen = parse_mode(mode)
    scenario = replace(SMALL, modes=(), check_ram=(chosen,))
    (result,) = compare(scenario, tmp_path, lambda event: None)
    assert result.mode == mode
    assert result.ram is not None
    assert result.ram.differing_pages == 0
    assert result.ram.compared_bytes > SMALL.guest.memory_bytes // 2
    assert result.lost_requests == 0
