"""Whole migrations that break: one line says why, and the guest runs on at the source."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pagethrift.errors import GuestError, LinkError, PagethriftError, QmpError, SourceEnded
from pagethrift.live.migrate import migrate
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.live.watch import Progress
from pagethrift.model.result import MigrationResult, Outcome
from tests.qemu.live.pair import After, Pair, running_pair, sink, slow_link
from tests.qemu.machines import QemuLike
from tests.qemu.tiny import MIB

SLOW = PlainFeatures(max_bandwidth_bps=2 << 20)


def broken(options: MigrateOptions, pair: Pair, kind: type[PagethriftError]) -> str:
    """Run a migration that must fail, with a rule that never stops; return its line."""
    with pytest.raises(kind) as caught:
        asyncio.run(migrate(options, decider=After(round=None)))
    return checked(pair, caught.value)


def checked(pair: Pair, error: PagethriftError) -> str:
    line = str(error)
    assert "\n" not in line
    settled(pair)
    return line


def settled(pair: Pair) -> None:
    """The source runs with the operator's settings, and no relay is left."""
    assert pair.source.qmp.execute("query-status")["status"] == "running"
    assert pair.parameter("downtime-limit") == 300
    assert pair.parameter("max-bandwidth") == 128 << 20
    assert not [c for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]]
    assert relays() == []


def relays(parent: int | None = None) -> list[int]:
    """Return the process ids of the relays that ``parent``, or this process, has started."""
    parent = parent or os.getpid()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(pid) for pid in children if b"relay" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def at_round(number: int, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Return a progress listener that acts once, when the round is reached."""
    done: list[bool] = []

    def look(progress: Progress) -> None:
        if progress.round >= number and progress.phase == "active" and not done:
            done.append(True)
            act()

    return look


@pytest.mark.parametrize("plain", [True, False])
def test_nobody_listens(pair: Pair, plain: bool) -> None:
    options = MigrateOptions(pair.options().source_qmp, f"unix:{pair.folder}/nobody.sock", plain=plain)
    line = broken(options, pair, QmpError if plain else LinkError)
    assert "nobody.sock" in line
    assert line.endswith("the guest runs on at the source")


@pytest.mark.parametrize("plain", [True, False])
def test_destination_refuses_to_load(binary: QemuLike, folder: Path, plain: bool) -> None:
    with running_pair(binary, folder, destination_ram_bytes=32 * MIB) as pair:
        options = pair.options(plain=plain, result_path=folder / "r.json", compare_machines=False)
        line = broken(options, pair, PagethriftError)
        assert "destination" in line
        assert "runs on at the source" in line
        result = MigrationResult.from_json((folder / "r.json").read_text())
        assert (result.outcome, result.error, result.converged) == (Outcome.FAILED, line, False)


def test_destination_dies(pair: Pair) -> None:
    async def run() -> None:
        async with slow_link(pair) as options:
            await migrate(options, at_round(1, pair.destination.process.kill), After(round=None))

    with pytest.raises(LinkError) as caught:
        asyncio.run(run())
    assert "the destination QEMU has ended" in checked(pair, caught.value)


def test_relay_dies(pair: Pair) -> None:
    def kill() -> None:
        os.kill(relays()[0], signal.SIGKILL)

    async def run() -> None:
        async with slow_link(pair) as options:
            await migrate(options, at_round(1, kill), After(round=None))

    with pytest.raises(LinkError, match="SIGKILL") as caught:
        asyncio.run(run())
    checked(pair, caught.value)


def test_source_dies(pair: Pair) -> None:
    async def run() -> None:
        async with slow_link(pair) as options:
            await migrate(options, at_round(1, pair.source.process.kill), After(round=None))

    with pytest.raises(SourceEnded, match="the source QEMU ended, and its guest with it"):
        asyncio.run(run())
    assert relays() == []


@pytest.mark.parametrize("plain", [True, False])
def test_cancel(pair: Pair, plain: bool) -> None:
    async def run() -> None:
        async with slow_link(pair) as through:
            slow = pair.options(plain=True, features=SLOW, result_path=pair.folder / "r.json")
            options = slow if plain else through
            task = asyncio.create_task(migrate(options, decider=After(round=None)))
            await asyncio.sleep(2.0)
            task.cancel()
            task.cancel()
            await task

    began_s = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert time.monotonic() - began_s < 6
    settled(pair)
    if plain:
        assert json.loads((pair.folder / "r.json").read_text())["outcome"] == "cancelled"


def test_cancel_while_the_relay_starts(pair: Pair) -> None:
    async def run() -> None:
        task = asyncio.create_task(migrate(pair.options(), decider=After(round=None)))
        await asyncio.sleep(0.3)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    settled(pair)


def test_retry_after_a_cancel(pair: Pair) -> None:
    options = MigrateOptions(pair.options().source_qmp, f"unix:{pair.folder}/nobody.sock", plain=True)
    broken(options, pair, QmpError)
    result = asyncio.run(migrate(pair.options(plain=True)))
    assert result.outcome is Outcome.COMPLETED


def test_timeout(pair: Pair) -> None:
    line = broken(pair.options(plain=True, features=SLOW, timeout_s=0.5), pair, LinkError)
    assert "not completed within 0.5 s" in line


@pytest.mark.parametrize("bytes_per_s", [None, 400_000])
def test_destination_that_never_confirms(pair: Pair, bytes_per_s: int | None) -> None:
    """Swallowing fast, QEMU waits for the confirmation; slowly, it writes with its monitor blocked."""

    async def run() -> None:
        async with sink(pair.folder / "sink.sock", bytes_per_s):
            options = MigrateOptions(
                pair.options().source_qmp,
                f"unix:{pair.folder}/sink.sock",
                plain=True,
                force_after_s=0.5,
                switchover_deadline_s=1.0,
            )
            await migrate(options)

    began_s = time.monotonic()
    with pytest.raises((GuestError, LinkError)) as caught:
        asyncio.run(run())
    assert time.monotonic() - began_s < 8
    if bytes_per_s is not None and isinstance(caught.value, LinkError):  # it was too slow even to be stopped
        assert "the guest runs on at the source" in str(caught.value)
    else:
        assert "nobody could ask the destination" in str(caught.value)
    checked(pair, caught.value)


@pytest.mark.parametrize("name", ["postcopy-ram", "pause-before-switchover"])
def test_capability_the_relay_cannot_take(pair: Pair, name: str) -> None:
    rows = [{"capability": name, "state": True}]
    pair.source.qmp.execute("migrate-set-capabilities", capabilities=rows)
    with pytest.raises(QmpError, match=f"capability {name} is on .*switch it off"):
        asyncio.run(migrate(pair.options()))
    assert pair.states() == ("running", "inmigrate")
    assert [c["capability"] for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]] == [
        name
    ]


def test_both_monitors_of_one_qemu(pair: Pair) -> None:
    options = pair.options(destination_qmp=str(pair.folder / "b.qmp"), source_qmp=str(pair.folder / "b.qmp"))
    with pytest.raises(QmpError):
        asyncio.run(migrate(options))


def test_source_that_is_a_destination(pair: Pair) -> None:
    swapped = pair.options(source_qmp=str(pair.folder / "b.qmp"), destination_qmp=str(pair.folder / "a.qmp"))
    with pytest.raises(QmpError, match="its guest is inmigrate"):
        asyncio.run(migrate(swapped))


def test_destination_that_does_not_wait(pair: Pair) -> None:
    pair.destination.qmp.execute("quit")
    line = broken(pair.options(), pair, QmpError)
    assert line.startswith("destination QMP socket")


def test_terminated_command_line(pair: Pair) -> None:
    argv = [sys.executable, "-m", "pagethrift", "migrate", "--qmp", pair.options().source_qmp]
    argv += ["--to", pair.options().destination, "--destination-qmp", str(pair.folder / "b.qmp")]
    argv += ["--plain", "--max-bandwidth", "2MB", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if json.loads(line)["phase"] == "active":
                process.send_signal(signal.SIGTERM)
                break
        assert process.wait(10) == 130
        assert "the guest runs on at the source" in process.stderr.read()
    settled(pair)


def test_killed_command_line_leaves_no_relay(pair: Pair) -> None:
    """Nothing can be restored then, but the guest runs on and the relay is gone."""
    argv = [sys.executable, "-m", "pagethrift", "migrate", "--qmp", pair.options().source_qmp]
    argv += ["--to", pair.options().destination, "--destination-qmp", str(pair.folder / "b.qmp"), "--json"]
    argv += ["--downtime-limit", "1us"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # Nothing gets through from here on: this guest may be clean for a moment, and then it is moved.
            pair.destination.process.send_signal(signal.SIGSTOP)
            if json.loads(line).get("phase") == "active":
                break
        (relay,) = relays(process.pid)
        process.kill()
    deadline_s = time.monotonic() + 5
    while pair.source.qmp.execute("query-migrate").get("status") != "failed":
        assert time.monotonic() < deadline_s, pair.source.qmp.execute("query-migrate")
        time.sleep(0.02)
    assert pair.source.qmp.execute("query-status")["status"] == "running"
    while Path(f"/proc/{relay}").exists() and "Z" not in Path(f"/proc/{relay}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
