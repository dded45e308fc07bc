"""The monitor: what it says when there is no QEMU, the wrong one, or a busy one (real ones: tests/qemu)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import astuple
from pathlib import Path

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.qmp import MigrateInfo, QmpMonitor
from tests.unit.live.monitors import fake_monitor, greeting, refused


def test_absent_socket(folder: Path) -> None:
    assert "does not exist" in refused(folder / "none.qmp")


def test_a_file_is_no_socket(folder: Path) -> None:
    (folder / "file").write_text("")
    assert "nothing listens" in refused(folder / "file")


def test_socket_of_a_dead_process(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead.qmp"))
    assert "nothing listens" in refused(folder / "dead.qmp")


@pytest.mark.parametrize(
    "text", [b"QEMU 7.2 monitor - type 'help'\r\n(qemu) ", b"{}\r\n", b"[1]\r\n", b"\0\xff\n"]
)
def test_not_a_qmp_socket(folder: Path, text: bytes) -> None:
    async def connect() -> None:
        async with fake_monitor(folder / "x.qmp", text):
            with pytest.raises(QmpError, match="not a QMP socket") as caught:
                await QmpMonitor.connect(str(folder / "x.qmp"), timeout_s=2.0)
        assert "\n" not in str(caught.value)

    asyncio.run(connect())


def test_silent_socket_may_be_busy(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "s.qmp"))
        silent.listen(4)
        assert "one client at a time" in refused(folder / "s.qmp")


def test_full_queue_is_busy(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as other:
        silent.bind(str(folder / "s.qmp"))
        silent.listen(0)
        other.connect(str(folder / "s.qmp"))
        assert "busy" in refused(folder / "s.qmp")


def test_too_old(folder: Path) -> None:
    async def connect() -> None:
        async with fake_monitor(folder / "old.qmp", greeting(6, 2)):
            with pytest.raises(QmpError, match=r"6\.2\.0 is too old, 7\.2 or newer"):
                await QmpMonitor.connect(str(folder / "old.qmp"))

    asyncio.run(connect())


def test_no_answer_in_time_and_unread_answers_do_not_pile_up(folder: Path) -> None:
    async def ask() -> None:
        async with fake_monitor(folder / "m.qmp", greeting(), {"query-migrate": None}):
            monitor = await QmpMonitor.connect(str(folder / "m.qmp"))
            with pytest.raises(QmpError, match=r"no answer to query-migrate within 0\.1 s"):
                await monitor.query_migrate(timeout_s=0.1)
            assert await monitor.execute("anything") == {}
            await monitor.close()

    asyncio.run(ask())


def test_blocked_cancel_falls_back_to_yank(folder: Path) -> None:
    async def ask() -> None:
        async with fake_monitor(folder / "m.qmp", greeting(), {"migrate_cancel": None}):
            monitor = await QmpMonitor.connect(str(folder / "m.qmp"))
            await monitor.cancel_migration(answer_s=0.1)
            await monitor.close()

    asyncio.run(ask())


def test_migrate_waits_for_qemu_to_clear_up_after_an_earlier_one(folder: Path) -> None:
    async def ask(refusals: list[str], tidy_s: float) -> None:
        async with fake_monitor(folder / "m.qmp", greeting(), refusals={"migrate": refusals}):
            monitor = await QmpMonitor.connect(str(folder / "m.qmp"))
            await monitor.migrate("unix:/nowhere", tidy_s)
            await monitor.close()

    untidy = "duplicate yank instance"
    left = [untidy, untidy]
    asyncio.run(ask(left, 5.0))
    assert left == []
    with pytest.raises(QmpError, match=untidy):
        asyncio.run(ask([untidy, untidy], 0.0))
    left = ["There's a migration process in progress", untidy]
    with pytest.raises(QmpError, match="in progress"):
        asyncio.run(ask(left, 5.0))
    assert left == [untidy]


def test_migrate_info_reads_what_qemu_leaves_out() -> None:
    assert MigrateInfo.from_answer({}) == MigrateInfo()
    failed = MigrateInfo.from_answer({"status": "failed", "error-desc": "no route"})
    assert (failed.status, failed.error, failed.total_bytes) == ("failed", "no route", 0)
    ram = {"remaining": 8192, "total": 1 << 20, "mbps": 80.0, "duplicate": 3, "normal": 4, "page-size": 4096}
    answer = {"status": "active", "ram": ram, "downtime": 12, "expected-downtime": 2**63 - 1}
    info = MigrateInfo.from_answer(answer)
    assert info.link_bps == pytest.approx(1e7)
    assert (info.remaining_bytes, info.zero_pages, info.normal_pages, info.downtime_s) == (8192, 3, 4, 0.012)
    assert not [value for value in astuple(info) if isinstance(value, int | float) and value > 1e15], (
        "QEMU 11.1 expects INT64_MAX ms of downtime while it switches over"
    )
