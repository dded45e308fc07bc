"""The guest runs exactly once, and what is said of it was asked; numbers are those of docs/faults.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import CancelledElsewhere, GuestError, PagethriftError, QmpError
from pagethrift.live import kept
from pagethrift.live.host import QemuProcess
from pagethrift.live.migrate import migrate
from pagethrift.live.watch import Progress
from pagethrift.model.result import Outcome
from pagethrift.state_folder import state_folder
from tests.qemu.live.pair import After, Pair, slow_link

COMMAND = [sys.executable, "-m", "pagethrift", "migrate", "--downtime-limit", "500ms"]


def command(pair: Pair, *more: str) -> list[str]:
    ends = ["--qmp", f"{pair.folder}/a.qmp", "--destination-qmp", f"{pair.folder}/b.qmp"]
    return [*COMMAND, *ends, "--to", f"unix:{pair.folder}/link.sock", *more]


async def under_way(pair: Pair, rounds: int = 1) -> None:
    """Wait until the source is in its ``rounds``-th pass."""
    while True:
        info = pair.source.qmp.execute("query-migrate")
        if info.get("status") == "active" and info["ram"]["dirty-sync-count"] >= rounds:
            return
        await asyncio.sleep(0.02)


def operators_settings(pair: Pair) -> None:
    assert pair.parameter("downtime-limit") == 300
    assert pair.parameter("max-bandwidth") == 128 << 20
    assert not [c for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]]


def runs_once(pair: Pair) -> str:
    """Say at which end the guest runs; it does at exactly one."""
    running = [state == "running" for state in pair.states()]
    assert sum(running) == 1, pair.states()
    return "source" if running[0] else "destination"


@pytest.mark.parametrize("how", ["reader gone", "disk full"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_1_output_never_steers(pair: Pair, how: str, more: list[str]) -> None:
    output: Any = subprocess.PIPE
    if how == "disk full":
        output = open("/dev/full", "w")  # noqa: SIM115
    process = subprocess.Popen(command(pair, *more), stdout=output, stderr=subprocess.PIPE, text=True)
    if how == "reader gone":
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(60) == 0, said
    assert runs_once(pair) == "destination"
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_1_a_report_that_raises(pair: Pair) -> None:
    def report(_: Progress) -> None:
        raise RuntimeError("a bug of whoever shows it")

    result = asyncio.run(migrate(pair.options(), report, After(round=1)))
    assert result.outcome is Outcome.COMPLETED
    assert any("progress was not shown to the end: a bug of" in warning for warning in result.warnings)
    assert runs_once(pair) == "destination"


def after_completion(pair: Pair, act: Callable[[], None]) -> asyncio.Task[None]:
    """Do something as soon as the source has completed."""

    async def watch() -> None:
        while pair.source.qmp.execute("query-migrate").get("status") != "completed":
            await asyncio.sleep(0.001)
        act()

    return asyncio.create_task(watch())


def test_2_a_destination_that_ends_before_its_guest_was_started(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination is gone for good: the source takes the guest back."""

    async def refuse(self: object) -> None:
        pair.destination.process.kill()
        pair.destination.process.wait()
        raise QmpError("QEMU ended or hung up during cont")

    monkeypatch.setattr("pagethrift.live.destination.Destination._start", refuse)
    with pytest.raises(QmpError, match="the guest runs on at the source") as caught:
        asyncio.run(migrate(pair.options(), decider=After(round=1)))
    assert "\n" not in str(caught.value)
    assert pair.source.qmp.execute("query-status")["status"] == "running"
    operators_settings(pair)


def test_2_a_destination_that_refuses_to_start(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: object) -> None:
        raise QmpError("destination refused cont: no lock")

    monkeypatch.setattr("pagethrift.live.destination.Destination._start", refuse)
    with pytest.raises(GuestError) as caught:
        asyncio.run(migrate(pair.options(), decider=After(round=1)))
    line = str(caught.value)
    # QEMU says "completed" a moment before its run state is postmigrate
    said = r"runs at neither end \(the source says (postmigrate|finish-migrate), the dest.* paused\)"
    assert re.search(said, line)
    assert f"send cont to the destination ({pair.folder}/b.qmp), never to both" in line
    pair.destination.qmp.execute("cont")
    assert runs_once(pair) == "destination"


def test_3_without_a_destination_monitor_nothing_is_said_that_was_not_asked(pair: Pair) -> None:
    """The way back is cut after the last byte: the destination runs, and the source resumes."""
    pair.destination.qmp.execute("migrate-incoming", uri=f"unix:{pair.folder}/far.sock")
    pair.destination.qmp.execute("cont")  # as one that was started without -S

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(f"{pair.folder}/far.sock")
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                far_writer.write(data)
                await far_writer.drain()
                status = pair.destination.qmp.execute("query-status")["status"]
                if status == "running":
                    break
        writer.transport.abort()
        await asyncio.sleep(1)
        del far_reader

    async def run() -> None:
        server = await asyncio.start_unix_server(cut, f"{pair.folder}/link.sock", limit=1 << 20)
        async with server:
            await migrate(replace(pair.options(), destination_qmp=None), decider=After(round=1))

    said = ""
    try:
        asyncio.run(run())
    except PagethriftError as error:
        said = str(error)
    source, destination = pair.states()
    assert destination == "running"
    if source == "running":
        assert "nobody could ask the destination, which may run it too: look at it" in said
    else:
        assert source == "postmigrate", "the confirmation overtook the cut"
        assert "runs on at the source" not in said


def test_4_a_guest_that_somebody_stops_stays_stopped(pair: Pair) -> None:
    async def run() -> Any:
        async with slow_link(pair) as options:
            task = asyncio.create_task(migrate(options, decider=After(round=None)))
            await under_way(pair, 2)
            pair.source.qmp.execute("stop")
            return await task

    result = asyncio.run(run())
    assert result.outcome is Outcome.COMPLETED
    assert result.downtime_s is None, "nobody lost a running guest"
    assert pair.states()[1] in ("paused", "prelaunch")


def test_4_a_guest_that_was_stopped_for_a_while_runs_on(pair: Pair) -> None:
    async def run() -> Any:
        async with slow_link(pair) as options:
            task = asyncio.create_task(migrate(options, decider=After(round=2)))
            await under_way(pair)
            pair.source.qmp.execute("stop")
            await asyncio.sleep(0.3)
            pair.source.qmp.execute("cont")
            return await task

    result = asyncio.run(run())
    assert result.outcome is Outcome.COMPLETED
    assert result.downtime_s is not None
    assert result.downtime_s < 5
    assert runs_once(pair) == "destination"


def test_5_two_at_once(pair: Pair) -> None:
    """A second pagethrift, on another monitor of this QEMU, is told so and disturbs nothing."""

    async def run() -> tuple[Any, subprocess.CompletedProcess[str]]:
        async with slow_link(pair) as options:
            first = asyncio.create_task(migrate(options, decider=After(round=2)))
            await under_way(pair)
            second = [*COMMAND, "--qmp", f"{pair.folder}/a2.qmp", "--to", f"unix:{pair.folder}/nowhere"]
            done = await asyncio.to_thread(
                subprocess.run, second, capture_output=True, text=True, check=False
            )
            return await first, done

    result, done = asyncio.run(run())
    assert done.returncode == 5
    assert "another pagethrift works with this QEMU" in done.stderr
    assert result.outcome is Outcome.COMPLETED
    assert runs_once(pair) == "destination"


def test_5_what_the_source_did_not_accept_is_not_cancelled(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign client's migration runs when ours is refused."""
    cancelled: list[str] = []

    async def refuse(self: Any, uri: str, tidy_s: float = 5.0) -> None:
        raise QmpError("source refused migrate: There's a migration process in progress")

    async def cancel(self: Any, answer_s: float = 1.0) -> None:
        cancelled.append("cancelled")

    monkeypatch.setattr("pagethrift.live.qmp.QmpMonitor.migrate", refuse)
    monkeypatch.setattr("pagethrift.live.qmp.QmpMonitor.cancel_migration", cancel)
    with pytest.raises(QmpError, match="in progress"):
        asyncio.run(migrate(pair.options()))
    assert cancelled == []
    assert runs_once(pair) == "source"


def test_7_cancelled_by_another_client(pair: Pair) -> None:
    async def run() -> None:
        async with slow_link(pair) as options:
            task = asyncio.create_task(migrate(options, decider=After(round=None)))
            await under_way(pair, 2)
            pair.source.qmp.execute("migrate_cancel")
            await task

    with pytest.raises(CancelledElsewhere, match=r"by another client; .*the guest runs on at"):
        asyncio.run(run())
    operators_settings(pair)


def test_19_the_address_at_which_the_destination_listens_is_named(pair: Pair) -> None:
    """Both ends resolve a name differently: here, to two sockets."""
    options = pair.options(incoming_uri=f"unix:{pair.folder}/elsewhere.sock")
    listens = f"the destination listens on {pair.folder}/elsewhere.sock; choose another address with"
    with pytest.raises(PagethriftError, match=listens):
        asyncio.run(migrate(options))
    assert runs_once(pair) == "source"
    operators_settings(pair)


ENDINGS = ["SIGHUP", "SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGALRM"]


@pytest.mark.parametrize("name", ENDINGS)
def test_9_however_it_is_told_to_end(pair: Pair, name: str) -> None:
    async def run() -> tuple[int, str]:
        async with slow_link(pair) as options:
            process = await asyncio.create_subprocess_exec(
                *command(pair, "--incoming", str(options.incoming_uri), "--json"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            while b'"phase": "active"' not in await process.stdout.readline():
                pass
            process.send_signal(getattr(signal, name))
            _, said = await process.communicate()
            return process.returncode or 0, said.decode()

    code, said = asyncio.run(run())
    assert code == 130
    assert said.strip() == "pagethrift: interrupted; the guest runs on at the source"
    operators_settings(pair)
    assert runs_once(pair) == "source"


def test_10_what_a_killed_one_left_is_put_back(pair: Pair) -> None:
    async def run() -> None:
        async with slow_link(pair) as options:
            process = await asyncio.create_subprocess_exec(
                *command(pair, "--incoming", str(options.incoming_uri), "--json", "--downtime-limit", "2ms"),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert process.stdout is not None
            while b'"round": 1' not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGKILL)
            await process.wait()

    pair.source.qmp.execute("migrate-set-parameters", **{"downtime-limit": 450})
    asyncio.run(run())
    deadline_s = time.monotonic() + 10
    while pair.source.qmp.execute("query-migrate")["status"] != "failed":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert pair.parameter("downtime-limit") == 1
    done = subprocess.run(
        [sys.executable, "-m", "pagethrift", "restore", "--qmp", f"{pair.folder}/a.qmp", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["restored"]["downtime-limit"] == 450
    assert pair.parameter("downtime-limit") == 450
    assert pair.parameter("max-bandwidth") == 128 << 20
    assert not [c for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]]
    assert pair.source.qmp.execute("query-status")["status"] == "running"


@pytest.mark.parametrize("listens", [False, True])
def test_10_what_a_killed_one_left_is_not_what_the_next_one_finds(pair: Pair, listens: bool) -> None:
    """A destination was set up for channels, listening or not, and the source for post-copy; then SIGKILL."""
    for monitor, left, capabilities in (
        (pair.destination, {"multifd-channels": 2, "multifd-compression": "none"}, {"multifd": False}),
        (pair.source, {"downtime-limit": 450}, {"postcopy-ram": False, "auto-converge": False}),
    ):
        process = QemuProcess.at(monitor.process.pid)
        kept.keep(process, left, capabilities)
    switch_on = {"multifd-channels": 2, "multifd-compression": "zstd"}
    pair.destination.qmp.set_capabilities(multifd=True)
    pair.destination.qmp.command("migrate-set-parameters", switch_on)
    pair.source.qmp.set_capabilities(postcopy_ram=True, auto_converge=True)
    options = pair.options()
    if listens:
        pair.destination.qmp.execute("migrate-incoming", uri=options.destination)
    result = asyncio.run(migrate(options))
    assert result.outcome is Outcome.COMPLETED
    assert runs_once(pair) == "destination"
    assert any("a killed pagethrift left settings behind" in line for line in result.warnings)
    on = [c["capability"] for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]]
    assert on == []
    assert pair.parameter("downtime-limit") == 450


def test_10_hold_values_are_never_taken_for_the_operators(pair: Pair) -> None:
    """The state file is gone too: another user's, or another host's."""
    values: dict[str, int] = {"downtime-limit": 1, "max-bandwidth": 0}
    if "avail-switchover-bandwidth" in pair.source.qmp.execute("query-migrate-parameters"):
        values["avail-switchover-bandwidth"] = 1000
    pair.source.qmp.execute("migrate-set-parameters", **values)
    result = asyncio.run(migrate(pair.options(), decider=After(round=1)))
    assert any("what a killed pagethrift leaves behind" in warning for warning in result.warnings)
    assert pair.parameter("downtime-limit") == 300
    assert pair.parameter("max-bandwidth") == 128 << 20


def test_the_state_folder_is_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert state_folder() is None, "a folder of somebody else is not trusted"
