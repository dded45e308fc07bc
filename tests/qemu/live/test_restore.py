"""``pagethrift restore`` after a SIGKILL: it says where the guest is, and never makes it run twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from tests.qemu.live.faulty import runs
from tests.qemu.live.pair import Pair
from tests.qemu.live.trial import WAYS, trial


def killed(pair: Pair, completed: bool) -> None:
    """Kill a migration before its source completes, or after that and before the destination is started."""
    with trial(pair, WAYS[0], "device state", straight=True) as migration:
        migration.drain()
        migration.wait_for("device state")
        if completed:
            os.kill(migration.process.pid, signal.SIGSTOP)
            migration.link.go.set()
            until(pair, "completed")
        migration.process.kill()
        migration.process.wait()
        migration.link.cut()
    if not completed:
        until(pair, "failed")


def until(pair: Pair, status: str) -> None:
    deadline_s = time.monotonic() + 30
    while True:
        with contextlib.suppress(TimeoutError):
            if pair.source.qmp.execute("query-migrate").get("status") == status:
                return
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def restore(pair: Pair, *more: str, destination: bool = True) -> tuple[int, str]:
    """Return the exit code and what was said."""
    argv = [sys.executable, "-m", "pagethrift", "restore", "--qmp", f"{pair.folder}/a.qmp", *more]
    argv += ["--destination-qmp", f"{pair.folder}/b.qmp"] * destination
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_between_the_sources_end_and_the_destinations_start(pair: Pair) -> None:
    killed(pair, completed=True)
    assert pair.states() == ("postmigrate", "paused")
    code, said = restore(pair, destination=False)
    assert code == 0
    assert "a killed pagethrift left settings behind; the operator's were kept" in said
    assert "the source says postmigrate; without --destination-qmp nobody could ask the destination" in said
    code, said = restore(pair)
    assert code == 7
    assert "neither end (the source says postmigrate, the destination says paused): send cont to the" in said
    assert "never to both; pagethrift restore does it with --start" in said
    assert pair.states() == ("postmigrate", "paused")
    for _ in range(2):  # a second time nothing is left to be done
        code, said = restore(pair, "--start")
        assert (code, said.splitlines()[-1].removeprefix("started: ")) == (
            0,
            "the guest runs at the destination",
        )
        assert pair.states() == ("postmigrate", "running")
    pair.destination.wait_sweeps(pair.destination.sweeps() + 2)
    assert pair.parameter("downtime-limit") == 300
    for machine in (pair.source, pair.destination):
        assert not [c for c in machine.qmp.execute("query-migrate-capabilities") if c["state"]]


def test_a_guest_that_its_operator_took_back_is_not_started_twice(pair: Pair) -> None:
    killed(pair, completed=True)
    pair.source.qmp.execute("cont")
    code, said = restore(pair, "--start")
    assert code == 0
    assert "the guest runs on at the source" in said
    assert pair.states() == ("running", "paused")


def test_before_the_sources_end(pair: Pair) -> None:
    killed(pair, completed=False)
    code, said = restore(pair, "--start")
    assert code == 0, said
    assert "the guest runs on at the source" in said
    assert pair.states()[0] == "running"
    assert not runs(pair.destination.process.pid) or pair.states()[1] != "running"
    assert pair.parameter("downtime-limit") == 300


def test_both_monitors_of_one_qemu(pair: Pair) -> None:
    argv = [sys.executable, "-m", "pagethrift", "restore", "--qmp", f"{pair.folder}/a.qmp"]
    argv += ["--destination-qmp", f"{pair.folder}/a2.qmp", "--start"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "pagethrift: --qmp and --destination-qmp lead to the same QEMU\n"
