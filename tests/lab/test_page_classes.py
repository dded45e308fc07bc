"""What a real Linux guest says of its pages, against what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pagethrift.lab.guest.image import MEMCACHED_PORT
from pagethrift.lab.guest.machine import GuestSpec
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.hosts.network import GUEST_ADDRESS, TwoHosts
from pagethrift.lab.hosts.processes import ProcessGroup
from pagethrift.lab.recording import copy_page_flags
from pagethrift.lab.run import BOOT_TIMEOUT_S, boot
from pagethrift.lab.scenario import Scenario
from pagethrift.model.facts import PageClass
from pagethrift.model.pages import PAGE_BYTES, BlockTable
from pagethrift.trace.page_classes import read_page_classes

MEMORY_BYTES = 256 << 20
VALUES, VALUE = 4_000, b"\xa5" * 4_000
WORD = np.uint64(0xA5A5A5A5A5A5A5A5)


@pytest.fixture
def hosts() -> TwoHosts:
    return TwoHosts()


def store_values(hosts: TwoHosts) -> None:
    with hosts.connect(GUEST_ADDRESS, MEMCACHED_PORT) as client, client.makefile("rwb") as lines:
        for number in range(VALUES):
            lines.write(b"set %d 0 0 %d\r\n%s\r\n" % (number, len(VALUE), VALUE))
            lines.flush()
            assert lines.readline() == b"STORED\r\n"


def test_free_memory_is_free_and_memcached_is_anonymous(hosts: TwoHosts, tmp_path: Path) -> None:
    guest = GuestSpec(
        memory_bytes=MEMORY_BYTES, memcached_bytes=64 << 20, clear_free=True, tells_page_classes=True
    )
    dump = tmp_path / "ram"
    with hosts, ProcessGroup(tmp_path) as group:
        source = boot(Scenario("classes", guest=guest), hosts.a, group, tmp_path)
        source.wait_ready(BOOT_TIMEOUT_S)
        before = copy_page_flags(hosts, tmp_path / "before")
        store_values(hosts)
        after = copy_page_flags(hosts, tmp_path / "after")
        with Monitor(source.observer_qmp_path) as monitor:
            monitor.execute("stop")
            where = {"val": 0, "size": MEMORY_BYTES, "filename": str(dump)}
            monitor.execute("pmemsave", where, timeout_s=60)
    table = BlockTable.of([(b"pc.ram", MEMORY_BYTES)])
    earlier, later = read_page_classes(before, table), read_page_classes(after, table)
    words = np.fromfile(dump, np.uint64).reshape(-1, PAGE_BYTES // 8)
    zero = np.logical_not(words.any(axis=1))
    assert zero.sum() > len(zero) / 3
    assert np.mean(later[zero] == PageClass.FREE) > 0.85
    values = (words == WORD).sum(axis=1) > 100
    assert values.sum() >= VALUES
    assert np.mean(later[values] == PageClass.ANONYMOUS) > 0.95
    assert np.mean(earlier[values] == PageClass.FREE) > 0.9
