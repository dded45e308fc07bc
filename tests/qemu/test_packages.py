"""The QEMUs at hand run and are what they are taken for."""

from __future__ import annotations

import subprocess

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import packages
from tests.qemu.machines import SERIES


@pytest.mark.parametrize("series", SERIES)
def test_a_qemu_at_hand_runs_and_knows_its_machines(series: packages.QemuSeries) -> None:
    try:
        found = packages.qemu(series, fetch=False)
    except LabError as error:
        pytest.skip(f"QEMU {series}: {error}")
    assert found.series == series
    machines = subprocess.run(
        [*found.command, "-machine", "help"],
        env=dict(found.env),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"pc-i440fx-{series}" in machines
