"""Three guests leave a host together: each runs exactly once, whole, also when the evacuation is killed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pagethrift.drain.state import StateFile
from tests.qemu.leavers import Leaver, leavers, write_plan
from tests.qemu.live.pair import WRITER
from tests.qemu.machines import QemuLike, differing_pages

pytestmark = pytest.mark.one_qemu

WAIT_S = 120.0
HEAD = {"bandwidth": "100Mbit", "deadline": "10min", "concurrency": 3, "downtime_limit": "2s"}
KNOWN = {"memory": "8MiB", "dirty_rate": "1MB/s"}
SLOW = ["--compress=off", "--cap=2MB/s"]
"""about four seconds for the first pass: time to break something"""


class Command:
    """One `pagethrift evacuate`, with what it says."""

    def __init__(self, plan: Path, *options: str) -> None:
        self._out = plan.with_suffix(".out").open("a+b")
        self._errors = plan.with_suffix(".err").open("w+b")
        argv = [sys.executable, "-m", "pagethrift", "evacuate", str(plan), "--json", *options]
        self.process = subprocess.Popen(argv, stdout=self._out, stderr=self._errors)
        self._plan = plan

    def lines(self) -> list[dict[str, Any]]:
        """What it has said so far, the lines of earlier ones included."""
        text = self._plan.with_suffix(".out").read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def errors(self) -> str:
        return self._plan.with_suffix(".err").read_text()

    def wait(self) -> int:
        return self.process.wait(WAIT_S)

    def until(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not reached():
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < deadline_s, self.errors()
            time.sleep(0.05)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._errors.close()


@pytest.fixture
def host(binary: QemuLike, folder: Path) -> Iterator[list[Leaver]]:
    guests = dict.fromkeys(("one", "two", "three"), WRITER)
    with leavers(binary, binary, guests, folder, lambda number: f"unix:{folder}/link{number}.sock") as found:
        yield found


@contextlib.contextmanager
def evacuating(folder: Path, guests: Sequence[Leaver], *options: str, **keys: Any) -> Iterator[Command]:
    head = {**HEAD, **keys.pop("head", {})}
    plan = write_plan(folder / "plan.toml", guests, head, **{**KNOWN, **keys})
    command = Command(plan, "--out", str(folder / "out"), *options)
    try:
        yield command
    finally:
        command.close()
        for path in (StateFile(plan).path, StateFile(plan)._lock):
            path.unlink(missing_ok=True)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out/evacuation.json").read_text())
    return found


def test_they_leave_together_and_their_memory_is_equal(host: list[Leaver], folder: Path) -> None:
    together = 0
    with evacuating(folder, host, options=["--leave-paused", *SLOW]) as command:
        while command.process.poll() is None:
            together = max(together, sum(each.migrates() for each in host))
            time.sleep(0.02)
        assert command.wait() == 0, command.errors()
        assert not StateFile(folder / "plan.toml").path.exists(), "nothing is left to be taken up again"
    for each in host:
        assert each.states() == ("postmigrate", "paused")
        assert differing_pages(each.source.dump_ram(), each.destination.dump_ram()) == []
    assert together >= 2
    found = record(folder)
    assert (found["empty"], found["in_time"], found["interrupted"]) == (True, True, False)
    assert [each["name"] for each in found["guests"]] == ["one", "two", "three"]
    assert all(0 < each["out_s"] <= found["last_out_s"] for each in found["guests"])
    assert all(each["bytes"] > 4 << 20 for each in found["guests"])
    said = command.lines()
    assert (said[0]["type"], said[-1]["type"]) == ("plan", "result")
    assert any(line["type"] == "progress" for line in said)


def test_killed_and_started_again_each_guest_leaves_once(host: list[Leaver], folder: Path) -> None:
    with evacuating(folder, host, options=SLOW, head={"concurrency": 2}) as command:
        command.until(lambda: sum(each.migrates() for each in host) == 2)
        command.process.send_signal(signal.SIGKILL)
        command.wait()
        before = StateFile(folder / "plan.toml").read()
        assert before is not None
        ids = {name: each.id for name, each in before.guests.items() if each.id}
        assert len(ids) == 2
        again = Command(folder / "plan.toml", "--out", str(folder / "out"))
        try:
            assert again.wait() == 0, again.errors()
        finally:
            again.close()
    assert [each.states() for each in host] == [("postmigrate", "running")] * 3
    for each in host:
        each.destination.wait_sweeps(each.destination.sweeps() + 1)
        result = json.loads((folder / f"out/{each.name}.json").read_text())
        assert result["outcome"] == "completed"
        assert result["migration_id"] == ids.get(each.name, result["migration_id"]), "it was not begun anew"
    assert record(folder)["empty"]
    third = subprocess.run(
        [sys.executable, "-m", "pagethrift", "evacuate", str(folder / "plan.toml"), f"--out={folder}/out"],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert third.returncode == 0, third.stderr
    assert "one: out before this began; the guest runs at the destination" in third.stderr
    assert record(folder)["in_time"], "the record of what was done stays"
    assert [each.states() for each in host] == [("postmigrate", "running")] * 3, "nobody leaves twice"


def test_interrupted_the_guests_run_on_and_it_is_said_where(host: list[Leaver], folder: Path) -> None:
    with evacuating(folder, host, options=SLOW) as command:
        command.until(lambda: all(each.migrates() for each in host))
        command.process.send_signal(signal.SIGINT)
        assert command.wait() == 130
    assert all(each.runs_here() for each in host)
    found = record(folder)
    assert found["interrupted"]
    assert not found["empty"]
    for each in found["guests"]:
        assert each["stage"] == "stayed"
        assert "the guest runs on at the source" in each["said"]


@pytest.mark.long
def test_brought_over_before_and_switched_at_the_word(host: list[Leaver], folder: Path) -> None:
    def waits() -> bool:
        said = [line for line in command.lines() if line["type"] == "progress"]
        return bool(said) and all(each["phase"] == "waits for go" for each in said[-1]["guests"])

    head = {"prestage": {"bandwidth": "100Mbit"}}
    known = {"memory": "8MiB", "dirty_rate": "200kB/s", "options": ["--compress=off"]}
    with evacuating(folder, host, head=head, **known) as command:
        command.until(waits)
        time.sleep(1.0)
        assert all(each.runs_here() for each in host)
        assert all(each.migrates() for each in host)
        told = [sys.executable, "-m", "pagethrift", "evacuate", str(folder / "plan.toml"), "--go"]
        subprocess.run(told, check=True, timeout=WAIT_S)
        assert command.wait() == 0, command.errors()
    assert [each.states() for each in host] == [("postmigrate", "running")] * 3
    found = record(folder)
    assert found["went_unix_s"] is not None
    for each in found["guests"]:
        result = json.loads((folder / f"out/{each['name']}.json").read_text())
        assert any(change["go"] for change in result["changes"])
        assert result["downtime_s"] <= result["downtime_limit_s"]
