"""Compressed channels to real, unmodified destinations: RAM compared byte by byte."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pagethrift.model.relay_protocol import RelayState
from tests.qemu.machines import (
    Machine,
    QemuLike,
    begin,
    destination,
    differing_pages,
    find_qemu,
    finish,
    source,
)
from tests.qemu.relays import RelayProcess, sockets
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS

SLOW_LINK = {"max-bandwidth": 16 << 20, "downtime-limit": 1}
"""about a second a round, so that there are several"""
PAIRS = [
    ("7.2", "7.2", "pc"), ("7.2", "10.0", "pc-i440fx-7.2"), ("10.0", "7.2", "pc-i440fx-7.2"),
    ("10.0", "10.0", "pc-i440fx-7.2"), ("10.0", "10.0", "pc-i440fx-8.1"), ("10.0", "10.0", "q35"),
]  # fmt: skip


def prepare(machine: Machine, channels: int) -> None:
    """Set a destination up as `migrate` does, or an operator."""
    rows = [{"capability": "multifd", "state": True}, {"capability": "xbzrle", "state": False}]
    machine.qmp.execute("migrate-set-capabilities", capabilities=rows)
    machine.qmp.command(
        "migrate-set-parameters", {"multifd-channels": channels, "multifd-compression": "zstd"}
    )


def qemus(*series: str) -> list[QemuLike]:
    found = [find_qemu(each) for each in series]  # type: ignore[arg-type]
    if None in found:
        pytest.skip(f"no QEMU {' and '.join(series)} here: pagethrift lab doctor says how to get one")
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(("old", "new", "machine"), PAIRS)
def test_ram_is_equal(old: str, new: str, machine: str, channels: int, short_path: Path) -> None:
    if channels != 2 and (old, new) != ("10.0", "10.0"):
        pytest.skip("two channels are enough for this pair")
    relay_at, incoming = sockets(short_path)
    from_qemu, to_qemu = qemus(old, new)
    with (
        source(from_qemu, PATTERNS, short_path, machine) as a,
        destination(to_qemu, PATTERNS, short_path, machine) as b,
        RelayProcess(relay_at, incoming, "--channels", str(channels)) as relay,
    ):
        a.wait_ready()
        prepare(b, channels)
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters=SLOW_LINK)
        deadline_s = time.monotonic() + 4.5
        while time.monotonic() < deadline_s and a.qmp.execute("query-migrate")["status"] in (
            "setup",
            "active",
        ):
            time.sleep(0.1)
        a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
        finish(a, b)
        assert relay.wait() == 0, relay.close()
        status = relay.status
        assert status.state is RelayState.DONE
        assert status.retransferred_pages > 500
        assert status.pages.compressed > 1000
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []
