"""Compressed channels to real, unmodified destinations: RAM compared byte by byte."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pagethrift.model.relay_protocol import RelayState
from tests.qemu.machines import (
    SERIES,
    Machine,
    QemuLike,
    assert_failed_and_running,
    begin,
    destination,
    differing_pages,
    find_qemu,
    finish,
    source,
)
from tests.qemu.relays import RelayProcess, sockets
from tests.qemu.tiny import EVERY_PATTERN as PATTERNS
from tests.qemu.tiny import MIB, Pattern, Region, TinyGuest

SLOW_LINK = {"max-bandwidth": 24 << 20, "downtime-limit": 1}
"""half a second a round, so that there are several"""
ONE_RUN = TinyGuest(
    (Region(Pattern.FLIP, 4 * MIB, 128), Region(Pattern.STATIC, 8 * MIB, 1024)),
    writes_per_s=20_000,
    publish=False,
)
"""all pages that it writes lie in 512 KiB, and so use one channel"""
SECTION, ROUND = "pc-i440fx-7.2", "q35"
"""machine types of QEMU 10.0, by how it then syncs"""


@dataclass(frozen=True, slots=True)
class Case:
    """One migration; RAM must be equal after it."""

    old: str
    new: str
    machine: str
    channels: int = 2
    more: tuple[str, ...] = ()
    guest: TinyGuest = PATTERNS
    on: dict[str, bool] = field(default_factory=dict)
    """capabilities of the source"""
    parameters: dict[str, Any] = field(default_factory=dict)


MULTIFD = {"multifd": True}
CASES = {
    "7.2": Case("7.2", "7.2", "pc"),
    "7.2 to 10.0": Case("7.2", "10.0", SECTION),
    "10.0 to 7.2, one channel": Case("10.0", "7.2", SECTION, 1),
    "10.0 by section, window 1 MiB": Case("10.0", "10.0", SECTION, more=("--window", "1MiB")),
    "10.0 with 8.1, window 128 MiB": Case("10.0", "10.0", "pc-i440fx-8.1", more=("--window", "128MiB")),
    "10.0 by round, four channels": Case("10.0", "10.0", ROUND, 4),
    "idle channels by section": Case("10.0", "10.0", SECTION, 4, guest=ONE_RUN),
    "idle channels by round": Case("10.0", "10.0", ROUND, 4, guest=ONE_RUN),
    "from multifd by section": Case("7.2", "7.2", "pc", on=MULTIFD, parameters={"multifd-channels": 3}),
    "from multifd by round": Case("10.0", "10.0", ROUND, on=MULTIFD, parameters={"multifd-channels": 3}),
    "from zstd": Case("10.0", "10.0", SECTION, on=MULTIFD, parameters={"multifd-compression": "zstd"}),
    "from xbzrle by section": Case("10.0", "10.0", SECTION, on={"xbzrle": True}),
    "from xbzrle by round": Case("10.0", "10.0", ROUND, on={"xbzrle": True}),
    "10.0 to 11.1": Case("10.0", "11.1", "pc-q35-10.0"),
    "11.1 to 10.0": Case("11.1", "10.0", "pc-q35-10.0"),
    "7.2 to 11.1": Case("7.2", "11.1", SECTION),
    "11.1 to 7.2": Case("11.1", "7.2", SECTION),
    "11.1": Case("11.1", "11.1", ROUND),
}


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


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if {case.old, case.new} <= set(SERIES)]
)
def test_ram_is_equal(name: str, short_path: Path) -> None:
    case = CASES[name]
    relay_at, incoming = sockets(short_path)
    from_qemu, to_qemu = qemus(case.old, case.new)
    with (
        source(from_qemu, case.guest, short_path, case.machine) as a,
        destination(to_qemu, case.guest, short_path, case.machine) as b,
        RelayProcess(
            relay_at, incoming, "--channels", str(case.channels), "--compress", "on", *case.more
        ) as relay,
    ):
        a.wait_ready()
        prepare(b, case.channels)
        if case.on:
            a.qmp.set_capabilities(**case.on)
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters=SLOW_LINK | case.parameters)
        wait_for(relay, lambda: relay.status.retransferred_pages > 700 or relay.process.poll() == 0)
        a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
        finish(a, b)
        assert relay.wait() == 0, relay.close()
        assert relay.status.state is RelayState.DONE
        assert relay.status.retransferred_pages > 100
        assert relay.status.pages.compressed > (1000 if case.guest is PATTERNS else 500)
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


@pytest.mark.parametrize("series", SERIES)
def test_frames_change_in_the_middle_and_ram_is_equal(series: str, short_path: Path) -> None:
    relay_at, incoming = sockets(short_path)
    (qemu,) = qemus(series)
    machine = "pc" if series == "7.2" else ROUND
    with (
        source(qemu, PATTERNS, short_path, machine) as a,
        destination(qemu, PATTERNS, short_path, machine) as b,
        RelayProcess(
            relay_at, incoming, "--channels", "2", "--compress", "on", module="tests.qemu.restless_relay"
        ) as relay,
    ):
        a.wait_ready()
        prepare(b, 2)
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters=SLOW_LINK)
        wait_for(relay, lambda: relay.status.retransferred_pages > 2000 or relay.process.poll() == 0)
        a.qmp.command("migrate-set-parameters", {"downtime-limit": 10_000})
        finish(a, b)
        assert relay.wait() == 0, relay.close()
        said = relay.close()
        assert int(said.split(" frames ended")[0].split()[-1]) >= 4, said
        assert relay.status.pages.compressed > 1000
        found = differing_pages(a.dump_ram(), b.dump_ram())
    assert found == []


def wait_for(relay: RelayProcess, ready: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline_s, relay.status
        assert not relay.process.poll(), relay.close()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("who", "phase", "machine"),
    [
        ("destination", "before RAM", ROUND),
        ("destination", "first round", SECTION),
        ("destination", "later", ROUND),
        ("relay", "before RAM", SECTION),
        ("relay", "later", SECTION),
        ("source", "before RAM", ROUND),
        ("source", "later", SECTION),
    ],
)
def test_what_ends_in_the_middle_leaves_the_guest_running(
    who: str, phase: str, machine: str, short_path: Path
) -> None:
    """Then the same source migrates to a fresh destination, and RAM is equal."""
    relay_at, incoming = sockets(short_path)
    (qemu,) = qemus("10.0")
    with source(qemu, PATTERNS, short_path, machine) as a:
        a.wait_ready()
        with (
            destination(qemu, PATTERNS, short_path, machine) as b,
            RelayProcess(relay_at, incoming, "--channels", "2") as relay,
        ):
            prepare(b, 2)
            b.qmp.execute("migrate-incoming", uri=incoming)
            if phase == "before RAM":  # the probe stays without an answer
                b.process.send_signal(signal.SIGSTOP)
            begin(a, None, short_path, to=relay_at, capabilities={"return-path": True}, parameters=SLOW_LINK)
            if phase == "before RAM":
                wait_for(relay, lambda: relay.status.state is RelayState.RAM)
            elif phase == "first round":
                relay.wait_for(RelayState.RAM, pages=1500)
            else:
                wait_for(relay, lambda: relay.status.retransferred_pages > 100)
            if who == "source":
                a.qmp.execute("migrate_cancel")
            else:
                (b.close if who == "destination" else relay.close)()
            # QEMU says "failed" of its own cancel if its migration thread notices the closed socket first
            ends = ("cancelled", "failed") if who == "source" else ("failed",)
            assert_failed_and_running(a, *ends, timeout_s=3.0)
            if who == "destination":
                assert relay.wait(5) == 4
                (line,) = [line for line in relay.close().splitlines() if line.startswith("pagethrift: ")]
                assert "the destination closed" in line
        with (
            destination(qemu, PATTERNS, short_path, machine) as b,
            RelayProcess(relay_at, incoming, "--channels", "2") as relay,
        ):
            prepare(b, 2)
            fast = {"max-bandwidth": 0, "downtime-limit": 10_000}
            begin(a, b, short_path, to=relay_at, listen=incoming, parameters=fast)
            finish(a, b)
            assert relay.wait() == 0
            assert differing_pages(a.dump_ram(), b.dump_ram()) == []


@pytest.mark.parametrize(
    ("channels", "compression", "says"),
    [
        (2, "none", "the destination closed multifd channel"),
        (1, "zstd", "destination"),
        (3, "zstd", "--channels must be its multifd-channels"),
    ],
    ids=["uncompressed", "fewer channels", "more channels"],
)
def test_a_destination_set_up_otherwise_is_refused(
    channels: int, compression: str, says: str, short_path: Path
) -> None:
    relay_at, incoming = sockets(short_path)
    (qemu,) = qemus("10.0")
    with (
        source(qemu, PATTERNS, short_path, SECTION) as a,
        destination(qemu, PATTERNS, short_path, SECTION) as b,
        RelayProcess(relay_at, incoming, "--channels", "2", "--stall-timeout", "4s") as relay,
    ):
        a.wait_ready()
        prepare(b, channels)
        b.qmp.command("migrate-set-parameters", {"multifd-compression": compression})
        begin(a, b, short_path, to=relay_at, listen=incoming, parameters=SLOW_LINK)
        assert relay.wait() == 4
        assert_failed_and_running(a)
        lines = [line for line in relay.close().splitlines() if line.startswith("pagethrift: ")]
    assert len(lines) == 1
    assert says in lines[0]
