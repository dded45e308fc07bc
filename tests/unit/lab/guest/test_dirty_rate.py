"""The dirty rate, asked of a real QEMU whose tiny guest writes at a known pace, and what is done with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest.dirty_rate import dirty_rate, require_dirty_rate
from pagethrift.lab.guest.monitor import Monitor
from tests.qemu.conftest import qemu_10, short_path
from tests.qemu.machines import QemuLike, source
from tests.qemu.tiny import Pattern, Region, TinyGuest

__all__ = ["qemu_10", "short_path"]

MIB = 1 << 20


@pytest.mark.qemu
@pytest.mark.parametrize(("pattern", "least", "most"), [(Pattern.STATIC, 0, 0), (Pattern.COUNTER, 10, 40)])
def test_writing_is_told_from_idling(
    qemu_10: QemuLike, short_path: Path, pattern: Pattern, least: int, most: int
) -> None:
    """COUNTER changes its 32 MiB for good in each sweep; FLIP could be back at the same content."""
    guest = TinyGuest((Region(pattern, 2 * MIB, 8192),), publish=False)
    with source(qemu_10, guest, short_path) as machine:
        machine.wait_ready()
        machine.qmp.close()
        with Monitor(machine.qmp_path) as monitor:
            assert least * MIB <= dirty_rate(monitor) <= most * MIB


def test_a_guest_that_idles_against_its_scenario_is_an_error() -> None:
    with pytest.raises(LabError, match=r"guest of busy changes 2 MiB/s.*wants 5 MiB/s"):
        require_dirty_rate(2 * MIB, 5 * MIB, "busy")
    require_dirty_rate(5 * MIB, 5 * MIB, "busy")
    require_dirty_rate(0, 0, "idle")
