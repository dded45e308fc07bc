"""A trace stands for a larger guest: the same as a larger trace on the link that it is scaled to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.channels import Compress
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.trace.synthetic import Load
from tests.traces import SMALL_PAGES, made, run

SCALE = 8
LINK_BPS = 400e6


@pytest.mark.parametrize("name", ["kvm-default", "kvm-xbzrle", "pagethrift"])
@pytest.mark.parametrize("compress", [Compress.OFF, Compress.AUTO])
def test_a_larger_guest(tmp_path: Path, name: str, compress: Compress) -> None:
    small = made(_folder(tmp_path, "small"), Load.COUNTERS, writes_per_s=2000.0)
    large = made(
        _folder(tmp_path, "large"), Load.COUNTERS, writes_per_s=2000.0 * SCALE, pages=SMALL_PAGES * SCALE
    )
    scaled = run(small, name, LINK_BPS / SCALE, scale=SCALE, compress=compress)
    whole = run(large, name, LINK_BPS, compress=compress)
    unscaled = run(small, name, LINK_BPS / SCALE, compress=compress)
    assert scaled.converged
    assert whole.converged
    assert scaled.total_time_s == pytest.approx(whole.total_time_s, rel=0.05)
    assert scaled.transferred_bytes * SCALE == pytest.approx(whole.transferred_bytes, rel=0.05)
    assert scaled.downtime_s is not None
    assert whole.downtime_s is not None
    assert unscaled.downtime_s is not None
    assert scaled.downtime_s == pytest.approx(whole.downtime_s, abs=0.03)
    assert abs(scaled.downtime_s - whole.downtime_s) < abs(unscaled.downtime_s - whole.downtime_s)


def test_compressors_are_scaled(tmp_path: Path) -> None:
    """On a link of 1.2 GB/s two channels of 0.19 GB/s cannot compress everything; unscaled they could."""
    small = made(tmp_path, Load.UNIFORM)
    link_bps = 1.2e9 / 64
    scaled, unscaled = (run(small, "pagethrift", link_bps, scale=scale) for scale in (64, 1))
    assert unscaled.pages.full == 0
    assert scaled.pages.full > scaled.pages.compressed


def test_packets_are_scaled(tmp_path: Path) -> None:
    """A packet of 128 pages that each stand for 64 would be compressed for 0.2 s, and count as a backlog."""
    scale, pages = 64, 1024
    small = made(_folder(tmp_path, "small"), Load.UNIFORM, pages=pages, writes_per_s=20.0)
    large = made(_folder(tmp_path, "large"), Load.UNIFORM, pages=pages * scale, writes_per_s=20.0 * scale)
    scaled = run(small, "pagethrift", 100e6 / scale, scale=scale)
    whole = run(large, "pagethrift", 100e6)
    assert whole.pages.compressed > 0.8 * pages * scale
    assert scaled.pages.compressed * scale == pytest.approx(whole.pages.compressed, rel=0.1)
    assert scaled.total_time_s == pytest.approx(whole.total_time_s, rel=0.05)
    assert scaled.downtime_s is not None
    assert whole.downtime_s is not None
    assert scaled.downtime_s == pytest.approx(whole.downtime_s, abs=0.05)


def test_no_smaller_guest() -> None:
    with pytest.raises(UsageError, match=r"scale of 0\.5"):
        SimulateOptions(LinkSpec(1e6), scale=0.5).check()


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name
