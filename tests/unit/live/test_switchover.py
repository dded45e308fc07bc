"""HOLD and GO by version; the settings of a real QEMU are in tests/qemu/live/test_switchover.py."""

from __future__ import annotations

import pytest

from pagethrift.live.qmp import Version
from pagethrift.live.switchover import acknowledgement_holds, switchover_settings


@pytest.mark.parametrize("version", [(7, 2, 22), (8, 1, 5), (8, 2, 0), (9, 0, 0), (10, 0, 2), (11, 1, 3)])
def test_hold_is_a_small_threshold_but_never_zero(version: Version) -> None:
    hold = switchover_settings(version).hold
    assert hold["downtime-limit"] == 1
    if version >= (8, 2, 0):  # QEMU computes bandwidth // 1000 * limit_ms
        assert hold["avail-switchover-bandwidth"] // 1000 * hold["downtime-limit"] == 1
    else:
        assert "avail-switchover-bandwidth" not in hold


@pytest.mark.parametrize("version", [(7, 2, 22), (8, 2, 0), (10, 0, 2)])
def test_go_is_within_qemus_range_and_covers_any_guest(version: Version) -> None:
    go = switchover_settings(version).go
    assert go["downtime-limit"] == 2_000_000
    if "avail-switchover-bandwidth" in go:
        assert go["avail-switchover-bandwidth"] // 1000 * go["downtime-limit"] > 2**50


@pytest.mark.parametrize(
    ("version", "machine", "holds"),
    [
        ((7, 2, 22), "pc-i440fx-7.2", False),
        ((8, 1, 0), "pc-q35-8.1", True),
        ((10, 0, 2), "microvm", True),
        ((11, 1, 3), "pc-q35-11.0", True),
        ((11, 1, 3), "pc-i440fx-7.2", True),
        ((11, 1, 3), "pc-q35-11.1", False),
        ((12, 0, 0), "pc-q35-11.2", False),
        ((11, 1, 3), "microvm", False),
    ],
)
def test_who_waits_for_an_acknowledgement(version: Version, machine: str, holds: bool) -> None:
    assert acknowledgement_holds(version, machine) is holds
