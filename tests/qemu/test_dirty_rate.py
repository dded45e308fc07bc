"""The dirty rate, asked of a real QEMU whose tiny guest writes at a known pace."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.lab.guest.dirty_rate import dirty_rate
from pagethrift.lab.guest.monitor import Monitor
from tests.qemu.machines import QemuLike, source
from tests.qemu.tiny import Pattern, Region, TinyGuest

MIB = 1 << 20


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
