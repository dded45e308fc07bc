"""What is done with a guest's dirty rate; tests/qemu/test_dirty_rate.py measures one."""

from __future__ import annotations

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest.dirty_rate import require_dirty_rate

MIB = 1 << 20


def test_a_guest_that_idles_against_its_scenario_is_an_error() -> None:
    with pytest.raises(LabError, match=r"guest of busy changes 2 MiB/s.*requires 5 MiB/s"):
        require_dirty_rate(2 * MIB, 5 * MIB, "busy")
    require_dirty_rate(5 * MIB, 5 * MIB, "busy")
    require_dirty_rate(0, 0, "idle")
