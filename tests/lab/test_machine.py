"""A real guest starts on each QEMU at hand, and one that cannot start says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import image, machine, packages
from pagethrift.lab.guest.acceleration import Accelerator, accelerator
from pagethrift.lab.hosts.network import GUEST_ADDRESS, TwoHosts
from pagethrift.lab.hosts.processes import ProcessGroup
from tests.qemu.machines import SERIES

MIB = 2**20


@pytest.mark.parametrize("series", SERIES)
def test_a_guest_starts_and_serves_the_client(series: packages.QemuSeries, tmp_path: Path) -> None:
    try:
        qemu = packages.qemu(series, fetch=series != "7.2")
    except LabError as error:
        pytest.skip(f"QEMU {series}: {error}")
    guest = machine.GuestSpec(memory_bytes=256 * MIB, memcached_bytes=64 * MIB, memcached_args=("-c", "77"))
    with TwoHosts() as hosts, ProcessGroup(tmp_path) as group:
        started = machine.start_qemu(
            group,
            name="guest",
            host=hosts.a,
            guest=guest,
            image=image.guest_image(),
            qemu=qemu,
            accelerator=accelerator(qemu),
            folder=tmp_path,
        )
        assert 0 < started.wait_ready(60) < 60
        with hosts.connect(GUEST_ADDRESS, image.MEMCACHED_PORT) as client, client.makefile("rwb") as lines:
            lines.write(b"set key 0 0 5\r\nhello\r\nget key\r\nstats settings\r\n")
            lines.flush()
            assert [lines.readline() for _ in range(4)] == [
                b"STORED\r\n",
                b"VALUE key 0 5\r\n",
                b"hello\r\n",
                b"END\r\n",
            ]
            settings = {}
            while (line := lines.readline().split())[0] == b"STAT":
                settings[line[1]] = line[2]
        assert settings[b"maxbytes"] == str(64 * MIB).encode()
        assert settings[b"maxconns"] == b"77"
        assert settings[b"num_threads"] == b"2"


def test_a_qemu_that_cannot_start_says_why(tmp_path: Path) -> None:
    try:
        qemu = packages.qemu("7.2", fetch=False)
    except LabError as error:
        pytest.skip(f"QEMU 7.2: {error}")
    guest = machine.GuestSpec(machine="no-such-machine")
    built = image.guest_image()
    with TwoHosts() as hosts, ProcessGroup(tmp_path) as group:
        with pytest.raises(LabError, match=r"no-such-machine|unsupported machine type"):
            machine.start_qemu(
                group,
                name="guest",
                host=hosts.a,
                guest=guest,
                image=built,
                qemu=qemu,
                accelerator=Accelerator.TCG,
                folder=tmp_path,
            )
        with pytest.raises(LabError, match="exceeds 107 bytes"):
            machine.start_qemu(
                group,
                name="guest",
                host=hosts.a,
                guest=guest,
                image=built,
                qemu=qemu,
                accelerator=Accelerator.TCG,
                folder=tmp_path / ("x" * 100),
            )
