"""Every fault in every phase of a migration: one right guest runs, or what is said is true and leads back.

CI tries one fault in each phase. ``make fault-matrix`` tries all, the grave ones also through multifd and
without the destination's monitor, and writes docs/fault-matrix.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.qemu import machines
from tests.qemu.live import fault_table
from tests.qemu.live.faulty import Link, Monitor, children, runs, stopped
from tests.qemu.live.pair import WRITER, Pair, destination_of, running_pair
from tests.qemu.tiny import MIB, content

PHASES = ("setup", "first round", "later rounds", "switchover", "device state", "completed")
FAULTS = (
    *("SIGKILL", "SIGSTOP 3 s", "SIGHUP", "SIGINT", "output closed"),
    *("relay SIGKILL", "relay SIGSTOP 3 s", "destination SIGKILL", "destination SIGSTOP 3 s"),
    *("link cut", "link stalled 3 s", "link slowed 100x for 3 s"),
    *("source QMP gone", "destination QMP gone"),
)
WAYS = ("relay", "multifd", "no destination monitor")
PAUSE_S = 3.0
FAST_BPS, NEVER_BPS, SWITCHOVER_BPS = 12 * MIB, 3 * MIB, MIB
"""converges in a few rounds; never does; leaves time to break something"""
STATIC = WRITER.regions[0]
RESULTS = Path("docs/results/fault-matrix.json")
TABLE = os.environ.get("FAULT_MATRIX_TABLE")
"""a file: try every cell and write the table to it"""


CI = (
    *(("setup", "source QMP gone"), ("first round", "destination SIGKILL"), ("later rounds", "SIGHUP")),
    *(("switchover", "SIGINT"), ("device state", "link cut"), ("completed", "relay SIGKILL")),
)
LATE = ("later rounds", "device state", "completed")
GRAVE = ("SIGINT", "relay SIGKILL", "destination SIGKILL", "link cut", "link stalled 3 s")


def cells() -> list[tuple[str, str, str]]:
    """Return (way, phase, fault): a few for CI, or all by relay and the grave ones by the other ways."""
    if not TABLE:
        return [(WAYS[0], phase, fault) for phase, fault in CI]
    every = [(WAYS[0], phase, fault) for phase in PHASES for fault in FAULTS]
    return every + [(way, phase, fault) for way in WAYS[1:] for phase in LATE for fault in GRAVE]


@dataclass
class Trial:
    """One migration by the command, and everything that can be broken in it."""

    pair: Pair
    link: Link
    monitors: dict[str, Monitor]
    process: subprocess.Popen[str]
    errors: Path

    def wait_for(self, phase: str) -> None:
        """Return as soon as the migration is in ``phase``; it may be over already."""
        if phase in ("setup", "device state"):
            self._until(self.link.held.is_set)
        elif phase == "first round":
            self._until(lambda: self.link.carried > MIB)
        elif phase == "later rounds":
            self._until(lambda: self._passes() >= 3)
        elif phase == "switchover":
            self.pair.source.qmp.event("STOP", 30)
            self.link.bytes_per_s = SWITCHOVER_BPS
        else:
            self._until(lambda: self._status() == "completed")

    def apply(self, fault: str) -> None:
        """Break something, and mend it if it was for a while."""
        names = {"source QMP gone": "source", "destination QMP gone": "destination"}
        if fault in ("SIGKILL", "SIGHUP", "SIGINT"):
            self.process.send_signal(getattr(signal, fault))
        elif fault == "output closed":
            assert self.process.stdout is not None
            self.process.stdout.close()
        elif fault == "link cut":
            self.link.cut()
        elif fault.startswith("link "):
            self._slower(1e-9 if "stalled" in fault else 0.01)
        elif fault in names:
            if names[fault] in self.monitors:
                self.monitors[names[fault]].gone()
        else:
            for pid in self._who(fault):
                self._signal(pid, fault)

    def end(self, timeout_s: float = 90.0) -> tuple[int, str]:
        """Return the command's exit code and what it wrote to stderr."""
        self.link.go.set()
        self.link.bytes_per_s = FAST_BPS
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command still runs after {timeout_s} s: {self.errors.read_text()}")
        return code, self.errors.read_text()

    def _slower(self, factor: float) -> None:
        before = self.link.bytes_per_s
        self.link.bytes_per_s = before * factor
        self.link.go.set()
        time.sleep(PAUSE_S)
        self.link.bytes_per_s = before

    def _who(self, fault: str) -> list[int]:
        if fault.startswith("relay"):
            return children(self.process.pid)
        if fault.startswith("destination"):
            return [self.pair.destination.process.pid]
        return [self.process.pid]

    def _signal(self, pid: int, fault: str) -> None:
        if fault.endswith("SIGKILL"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        with contextlib.suppress(ProcessLookupError), stopped(pid):
            self.link.go.set()
            time.sleep(PAUSE_S)

    def _passes(self) -> int:
        return int(self._query().get("ram", {}).get("dirty-sync-count", 0))

    def _status(self) -> str:
        return str(self._query().get("status", ""))

    def _query(self) -> dict[str, Any]:
        with contextlib.suppress(TimeoutError):  # in the switchover it does not answer
            answer: dict[str, Any] = self.pair.source.qmp.execute("query-migrate", timeout_s=30)
            return answer
        return {}

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 40
        while not reached() and self.process.poll() is None:
            assert time.monotonic() < deadline_s, f"phase not reached: {self.errors.read_text()}"
            time.sleep(0.002)


@contextlib.contextmanager
def trial(pair: Pair, way: str, phase: str) -> Iterator[Trial]:
    """Start the command against a link and monitors that can fail; end them all."""
    folder = pair.folder
    for old in ("link.sock", "far.sock", "qa", "qb"):
        (folder / old).unlink(missing_ok=True)
    rate = NEVER_BPS if phase == "later rounds" else FAST_BPS
    hold = {"setup": "start", "device state": "device"}.get(phase, "")
    link = Link(folder / "link.sock", folder / "far.sock", rate, hold)
    monitors = {"source": Monitor(folder / "qa", folder / "a.qmp")}
    command = [sys.executable, "-m", "pagethrift", "migrate", "--qmp", f"{folder}/qa", "--json"]
    command += ["--to", f"unix:{folder}/link.sock", "--downtime-limit", "500ms"]
    if way == "no destination monitor":
        if pair.destination.qmp.execute("query-status")["status"] != "running":
            pair.destination.qmp.execute("migrate-set-capabilities", capabilities=RETURN_PATH)
            pair.destination.qmp.execute("migrate-incoming", uri=f"unix:{folder}/far.sock")
            pair.destination.qmp.execute("cont")  # as one that was started without -S
    else:
        monitors["destination"] = Monitor(folder / "qb", folder / "b.qmp")
        command += ["--destination-qmp", f"{folder}/qb", "--incoming", f"unix:{folder}/far.sock"]
    if way == "multifd":
        command += ["--multifd", "2"]
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    try:
        yield Trial(pair, link, monitors, process, folder / "errors")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for each in (link, *monitors.values()):
            each.close()


RETURN_PATH = [{"capability": name, "state": True} for name in ("return-path", "events")]


def where(pair: Pair) -> tuple[str, str]:
    """Ask both ends, once the source's migration is over."""
    deadline_s = time.monotonic() + 30
    while pair.source.qmp.execute("query-migrate", timeout_s=30).get("status") not in (
        *("completed", "failed", "cancelled", "none", None),
    ):
        assert time.monotonic() < deadline_s, "the source still migrates"
        time.sleep(0.05)
    if pair.destination.process.poll() is not None:
        return pair.source.qmp.execute("query-status")["status"], "ended"
    deadline_s = time.monotonic() + 10
    while True:
        try:
            states = pair.states()
        except Exception:
            assert pair.destination.process.wait(5) is not None
            return pair.source.qmp.execute("query-status")["status"], "ended"
        if states[1] != "inmigrate" or time.monotonic() > deadline_s or states[0] == "running":
            return states
        time.sleep(0.05)


def right_guest(machine: machines.Machine) -> None:
    """The guest lives, and what it never wrote again is as it was filled."""
    machine.wait_sweeps(machine.sweeps() + 2)
    data = machine.read(STATIC.start, STATIC.stop - STATIC.start)
    assert data == content(STATIC.start, STATIC.pages, 3).tobytes()


def check_settings(pair: Pair, way: str, killed: bool) -> None:
    """The operator's settings are in force; after SIGKILL by ``pagethrift restore``."""
    if killed:
        restore = [sys.executable, "-m", "pagethrift", "restore", "--qmp", f"{pair.folder}/a.qmp"]
        subprocess.run(restore, check=True, capture_output=True)
    assert pair.parameter("downtime-limit") == 300
    assert pair.parameter("max-bandwidth") == 128 << 20
    on = [
        each["capability"] for each in pair.source.qmp.execute("query-migrate-capabilities") if each["state"]
    ]
    assert on == [], way


def nothing_left(pair: Pair, relays: list[int], killed: bool) -> None:
    """No relay runs and no temporary file remains."""
    deadline_s = time.monotonic() + 8
    while any(map(runs, relays)):
        assert time.monotonic() < deadline_s, "a relay is left behind"
        time.sleep(0.05)
    if not killed:
        assert list((pair.folder / "tmp").iterdir()) == []


def drained(process: subprocess.Popen[str]) -> None:
    """Read the command's output away, so that it never waits for a reader."""

    def read() -> None:
        with contextlib.suppress(OSError, ValueError):
            assert process.stdout is not None
            while process.stdout.readline():
                pass

    threading.Thread(target=read, daemon=True).start()


def told_the_truth(code: int, said: str, states: tuple[str, str], way: str, died: bool) -> None:
    """What the command said of the guest is so; ``died``: the destination did, with the guest it ran."""
    assert "Traceback" not in said
    running = [state == "running" for state in states]
    assert running != [True, True] or way == "no destination monitor", (states, said)
    if code == 0 and not died:
        assert running == [False, True], (states, said)
    if "runs on at the source" in said:
        assert running == [True, False], (states, said)
    if running == [True, True]:
        assert "nobody could ask the destination, which may run it too" in said
    if "the guest runs at the destination" in said:
        assert running == [False, True], (states, said)
    if not any(running) and code >= 0 and not died:
        assert "send cont to" in said, (code, states, said)


def second_attempt(binary: machines.QemuLike, pair: Pair) -> None:
    """A new destination gets the guest that stayed at the source."""
    pair.destination.close()
    with destination_of(binary, pair) as destination:
        again = Pair(pair.source, destination, pair.folder)
        with trial(again, WAYS[0], "none") as second:
            drained(second.process)
            code, said = second.end()
        assert code == 0, said
        assert where(again) == ("postmigrate", "running")
        right_guest(destination)


NAMES = {
    (True, False): "source",
    (False, True): "destination",
    (False, False): "said",
    (True, True): "both, said",
}
OUTCOMES: dict[tuple[str, str, str], str] = {}


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the table when every cell was tried."""
    yield
    if TABLE:
        fault_table.write(Path(TABLE), RESULTS, OUTCOMES, cells())


@pytest.fixture(scope="module", params=[series for series in machines.SERIES if series != "7.2"])
def binary(request: pytest.FixtureRequest) -> machines.QemuLike:
    found = machines.find_qemu(request.param)
    if found is None:
        pytest.skip(f"NO QEMU {request.param} HERE: the fault matrix is not tested on it")
    return found


@pytest.mark.parametrize(("way", "phase", "fault"), cells())
def test_a_fault(binary: machines.QemuLike, folder: Path, way: str, phase: str, fault: str) -> None:
    OUTCOMES[way, phase, fault] = fault_table.FAILED  # until the end of this test; not an older run's outcome
    with running_pair(binary, folder) as pair:
        with trial(pair, way, phase) as first:
            if fault != "output closed":
                drained(first.process)
            first.wait_for(phase)
            over = first.process.poll() is not None
            assert not over or phase == "completed", first.errors.read_text()
            relays = children(first.process.pid)
            first.apply(fault)
            code, said = first.end()
        killed = fault == "SIGKILL" or fault == "source QMP gone"
        states = where(pair)
        died = (code, phase, fault) == (0, "completed", "destination SIGKILL") and states[1] == "ended"
        told_the_truth(code, said, states, way, died)
        nothing_left(pair, relays, fault == "SIGKILL")
        check_settings(pair, way, killed)
        if died:
            OUTCOMES[way, phase, fault] = "died with it"
            return
        outcome = NAMES[states[0] == "running", states[1] == "running"]
        if outcome == "said":  # as the line says; a killed command says nothing, docs/faults.md does
            ended = states[1] == "ended"
            (pair.source if ended else pair.destination).qmp.execute("cont")
            states = where(pair)
        assert [state == "running" for state in states].count(True) == 1 or way == WAYS[2], (states, said)
        right_guest(pair.source if states[0] == "running" else pair.destination)
        if states[0] == "running" and states[1] != "running":
            second_attempt(binary, pair)
    OUTCOMES[way, phase, fault] = outcome
