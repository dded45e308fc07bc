"""Every fault in every phase of a migration: one right guest runs, or what is said is true and leads back.

CI tries one fault in each phase. ``make fault-matrix`` tries all, the grave ones also through multifd,
without the destination's monitor and on an older QEMU, and writes docs/fault-matrix.md;
with N=3 it tries each cell three times.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.qemu import machines
from tests.qemu.live import fault_table
from tests.qemu.live.faulty import children, runs
from tests.qemu.live.pair import WRITER, Pair, destination_of, running_pair
from tests.qemu.live.trial import DISK_FULL, FAULTS, NO_MEMORY, PHASES, REFUSED, REFUSED_1_S, WAYS, trial
from tests.qemu.tiny import content

STATIC = WRITER.regions[0]
RESULTS = Path("docs/results/fault-matrix.json")
TABLE = os.environ.get("FAULT_MATRIX_TABLE")
"""a file: try every cell and write the table to it"""
REPEAT = int(os.environ.get("FAULT_MATRIX_REPEAT") or 1)

CI = (
    *(("setup", "source QMP gone"), ("first round", "destination SIGKILL"), ("later rounds", "SIGHUP")),
    *(("switchover", "SIGINT"), ("device state", "link cut"), ("completed", "relay SIGKILL")),
    *(("first round", DISK_FULL), ("device state", REFUSED)),
)
LATE = ("later rounds", "device state", "completed")
GRAVE = (
    *("SIGINT", "relay SIGKILL", "relay no more memory", "destination SIGKILL"),
    *("link cut", "link stalled 3 s", DISK_FULL, REFUSED, REFUSED_1_S),
)
_NO_DESTINATION, _OLD = WAYS[2:]


def cells() -> list[tuple[str, str, str]]:
    """Return (way, phase, fault): a few for CI, or all by relay and the grave ones by the other ways."""
    if not TABLE:
        return [(WAYS[0], phase, fault) for phase, fault in CI]
    every = [(WAYS[0], phase, fault) for phase in PHASES for fault in FAULTS]
    every += [(way, phase, fault) for way in WAYS[1:] for phase in LATE for fault in GRAVE]
    return [cell for cell in every if makes_sense(*cell)]


def makes_sense(way: str, phase: str, fault: str) -> bool:
    """After the source has completed, whether the disk is locked in time would be chance."""
    if fault == REFUSED_1_S and way == _NO_DESTINATION:  # nobody tries again
        return False
    return phase != "completed" or fault not in (REFUSED, REFUSED_1_S)


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


def restored(pair: Pair, *more: str) -> str:
    """Run ``pagethrift restore``; return what it says of the guest."""
    command = [sys.executable, "-m", "pagethrift", "restore", "--qmp", f"{pair.folder}/a.qmp", "--json"]
    done = subprocess.run([*command, *more], check=True, capture_output=True)
    return str(json.loads(done.stdout)["guest"])


def check_settings(pair: Pair, way: str, killed: bool) -> None:
    """The operator's settings are in force; after SIGKILL by ``pagethrift restore``."""
    if killed:
        restored(pair)
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


def told_the_truth(code: int, said: str, states: tuple[str, str], way: str, died: bool) -> None:
    """What the command said of the guest is so; ``died``: the destination did, with the guest it ran."""
    assert "Traceback" not in said
    running = [state == "running" for state in states]
    assert running != [True, True] or way == "no destination monitor", (states, said)
    if code == 0 and not died and not (way == _NO_DESTINATION and not any(running)):
        assert running == [False, True], (states, said)
    if "runs on at the source" in said:
        assert running == [True, False], (states, said)
    if running == [True, True]:
        assert "nobody could ask the destination, which may run it too" in said
    if "runs at neither end" in said:
        assert running == [False, False], (states, said)
    if "the guest runs at the destination" in said:
        assert running == [False, True], (states, said)
    if not any(running) and code >= 0 and not died:
        unasked = "nobody asked the destination: see that its guest runs"
        assert ("send cont to" if code else unasked) in said, (code, states, said)


def disk_was_full(pair: Pair, code: int, output: list[str]) -> None:
    """What could not be written was said; nothing half written has a file's place."""
    assert code == 0
    folder = pair.folder / "out"
    assert {each.name for each in folder.iterdir()} <= {"facts", "result.json"}
    result = folder / "result.json"
    if result.exists():
        json.loads(result.read_text())
    elif output:  # by then the command may have been over
        assert "the result could not be written" in output[-1], output[-1]


def second_attempt(binary: machines.QemuLike, pair: Pair) -> None:
    """A new destination gets the guest that stayed at the source."""
    pair.destination.close()
    with destination_of(binary, pair) as destination:
        again = Pair(pair.source, destination, pair.folder)
        with trial(again, WAYS[0], "none") as second:
            second.drain()
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


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write the table at the end."""
    yield
    if TABLE:
        fault_table.write(Path(TABLE), RESULTS, cells())


@contextlib.contextmanager
def counted(way: str, phase: str, fault: str) -> Iterator[list[str]]:
    """Count the outcome that the block appends, or a failure."""
    outcome: list[str] = []
    try:
        yield outcome
    finally:
        if TABLE:
            fault_table.count(RESULTS, (way, phase, fault), *outcome)


@pytest.fixture
def binary(way: str) -> machines.QemuLike:
    version = "7.2" if way == _OLD else "10.0"
    found = machines.find_qemu("7.2" if way == _OLD else "10.0")
    if found is None:
        pytest.skip(f"NO QEMU {version} HERE: the fault matrix is not tested; apt install qemu-system-x86")
    return found


@pytest.mark.parametrize("time_of", range(REPEAT))
@pytest.mark.parametrize(("way", "phase", "fault"), cells())
def test_a_fault(
    binary: machines.QemuLike, folder: Path, way: str, phase: str, fault: str, time_of: int
) -> None:
    disk = fault in (REFUSED, REFUSED_1_S)
    with counted(way, phase, fault) as outcome, running_pair(binary, folder, with_disk=disk) as pair:
        with trial(pair, way, phase, fault) as first:
            if fault != "output closed":
                first.drain()
            first.wait_for(phase)
            over = first.process.poll() is not None
            assert not over or phase == "completed", first.errors.read_text()
            relays = children(first.process.pid)
            first.apply(fault)
            code, said = first.end()
            states = where(pair)
        killed = fault in ("SIGKILL", "source QMP gone", NO_MEMORY)  # or as good as that
        died = (code, phase, fault) == (0, "completed", "destination SIGKILL") and states[1] == "ended"
        told_the_truth(code, said + "".join(first.output[-1:]), states, way, died)
        nothing_left(pair, relays, fault == "SIGKILL")
        check_settings(pair, way, killed)
        if fault == DISK_FULL:
            disk_was_full(pair, code, first.output)
        if died:
            outcome.append("died with it")
            return
        name = NAMES[states[0] == "running", states[1] == "running"]
        if name == "said" and fault == "SIGKILL":  # it said nothing; restore does, and starts it
            assert restored(pair, "--destination-qmp", f"{pair.folder}/b.qmp", "--start") == (
                "the guest runs at the destination"
            )
            states = where(pair)
        elif name == "said":  # as the line says
            if states[1] == "inmigrate":  # the lock was in its way, and it does not try again
                pair.destination.process.kill()
                pair.destination.process.wait()
            ended = pair.destination.process.poll() is not None
            (pair.source if ended else pair.destination).qmp.execute("cont")
            states = where(pair)
        assert [state == "running" for state in states].count(True) == 1 or way == _NO_DESTINATION, (
            states,
            said,
        )
        right_guest(pair.source if states[0] == "running" else pair.destination)
        if states[0] == "running" and states[1] != "running":
            second_attempt(binary, pair)
        outcome.append(name)
