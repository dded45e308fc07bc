"""`migrate --check` and the comparison before every migration, on real QEMUs (docs/faults.md, 27)."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.check import check
from pagethrift.live.migrate import migrate
from tests.qemu.live.pair import Pair, running_pair
from tests.qemu.machines import QemuLike
from tests.qemu.tiny import MIB


def test_nothing_against_a_good_pair(pair: Pair) -> None:
    assert asyncio.run(check(pair.options())) == []
    assert pair.states()[0] == "running"


def test_a_smaller_destination(binary: QemuLike, folder: object) -> None:
    from pathlib import Path

    assert isinstance(folder, Path)
    with running_pair(binary, folder, destination_ram_bytes=32 * MIB) as pair:
        lines = asyncio.run(check(pair.options()))
        assert len(lines) == 1
        assert lines[0].endswith("memory: the source has 64 MiB, the destination 32 MiB")
        with pytest.raises(QmpError, match="the destination 32 MiB; make them equal"):
            asyncio.run(migrate(pair.options()))
        assert pair.states() == ("running", "inmigrate") or pair.states()[0] == "running"
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
