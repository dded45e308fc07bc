"""`migrate --check` and the comparison before every migration, on real QEMUs (docs/faults.md, 27)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.errors import PagethriftError, QmpError
from pagethrift.live.check import check
from pagethrift.live.migrate import migrate
from tests.qemu.live.pair import After, Pair, running_pair
from tests.qemu.machines import QemuLike
from tests.qemu.tiny import MIB


def test_nothing_against_a_good_pair(pair: Pair) -> None:
    assert asyncio.run(check(pair.options())) == []
    assert pair.states()[0] == "running"


def test_a_smaller_destination(binary: QemuLike, folder: Path) -> None:
    with running_pair(binary, folder, destination_ram_bytes=32 * MIB) as pair:
        lines = asyncio.run(check(pair.options()))
        assert len(lines) == 1
        assert lines[0].endswith("memory: the source has 64 MiB, the destination 32 MiB")
        with pytest.raises(QmpError, match="the destination 32 MiB; make them equal"):
            asyncio.run(migrate(pair.options()))
        assert pair.states() == ("running", "inmigrate") or pair.states()[0] == "running"
        assert pair.parameter("downtime-limit") == 300


DEVICE = ("-device", "virtio-rng-pci,id=r,disable-modern=")


def test_27_the_destinations_own_reason(binary: QemuLike, folder: Path) -> None:
    """A property of a device, which the comparison does not see, makes the destination refuse its state."""
    theirs = (DEVICE[0], DEVICE[1] + "on,disable-legacy=off")
    ours = (DEVICE[0], DEVICE[1] + "off,disable-legacy=off")
    with running_pair(binary, folder, extra=ours, destination_extra=theirs) as pair:
        assert asyncio.run(check(pair.options())) == []
        with pytest.raises(PagethriftError, match="the guest runs on at the source") as caught:
            asyncio.run(migrate(pair.options(), decider=After(round=1)))
        line = str(caught.value)
        if pair.destination.process.poll() is None:  # 9.1 and later live on and can be asked
            assert "destination: load of migration failed: Invalid argument" in line
        else:
            assert "destination: the destination QEMU has ended" in line
        assert pair.states()[0] == "running"
        assert pair.parameter("downtime-limit") == 300


def test_every_objection_has_its_line(pair: Pair) -> None:
    pair.source.qmp.execute(
        "migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}]
    )
    argv = [sys.executable, "-m", "pagethrift", "migrate", "--check", "--to", "h:1"]
    argv += ["--qmp", f"{pair.folder}/a.qmp", "--destination-qmp", f"{pair.folder}/none.qmp"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    first, second = done.stdout.splitlines()
    assert "postcopy-ram" in first
    assert "none.qmp" in second
    assert pair.states()[0] == "running"
