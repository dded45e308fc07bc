"""The state of an evacuation as a file: one at a time, read back as written, nothing else taken for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pagethrift.drain import state as state_module
from pagethrift.drain.child import Child, command
from pagethrift.drain.state import GuestState, Stage, State, StateFile
from pagethrift.errors import UsageError
from pagethrift.evacuation.plan import Guest
from pagethrift.live.host import started_at


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFile:
    monkeypatch.setattr(state_module, "state_folder", lambda: tmp_path)
    return StateFile(tmp_path / "plan.toml")


def test_read_back_as_written(file: StateFile) -> None:
    assert file.read() is None
    guests = {"a": GuestState(Stage.ON_WAY, "a-1", 7, "99", True, 5.0), "b": GuestState(said="here")}
    state = State(file.plan, 1.0, "/out", 3.0, guests)
    file.write(state)
    assert file.read() == state
    file.remove()
    assert file.read() is None


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": "pagethrift.evacuation-state", "version": 2}', "x"])
def test_what_is_no_state_is_said_with_what_to_do(file: StateFile, text: str) -> None:
    file.path.write_text(text)
    with pytest.raises(UsageError, match="remove the file to begin anew"):
        file.read()


def test_one_evacuation_of_a_plan_at_a_time(file: StateFile) -> None:
    with file.held(), pytest.raises(UsageError, match="another pagethrift evacuate works"), file.held():
        raise AssertionError("held twice")
    with file.held():
        pass


def test_go_reaches_the_process_that_holds_the_plan_and_nobody_else(file: StateFile) -> None:
    with pytest.raises(UsageError, match="no evacuation of this plan runs"):
        file.tell_go()
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        with file.held():
            file.tell_go()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
    with pytest.raises(UsageError, match="no evacuation of this plan runs"):
        file.tell_go()


def test_commands() -> None:
    guest = Guest(
        "vm1", "", qmp="/a", to="h:1", destination_qmp="/b", downtime_limit_s=0.25, force_after_s=9.0
    )
    said = command(guest, ["--compress=off"], "vm1-1", Path("/out/vm1.json"))[3:]
    assert said == [
        "migrate", "--qmp=/a", "--to=h:1", "--destination-qmp=/b", "--downtime-limit=0.250000s", "--id=vm1-1",
        "--out=/out/vm1.json", "--force-after=9.000000s", "--compress=off",
    ]  # fmt: skip
    assert command(guest, [], "i", Path("/o"), 1000.0)[7:9] == ["--wait-for-go", "--cap=1000B/s"]
    assert "--max-bandwidth=1000B/s" in command(guest, ["--plain"], "i", Path("/o"), 1000.0)
    domain = Guest("vm2", "", domain="vm2", desturi="qemu:///x", connect="qemu:///y")
    said = command(domain, [], "i", Path("/o"))[3:]
    assert said[:5] == ["libvirt", "migrate", "vm2", "qemu:///x", "--connect=qemu:///y"]


def test_a_child_and_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import sys; print('pagethrift: it broke', file=sys.stderr); sys.exit(4)"
    child = Child.start([sys.executable, "-c", script], log)
    assert child._process is not None
    child._process.wait(20)
    assert (child.ended(), child.last_line()) == (4, "it broke")
    assert Child.adopted(child.pid, child.started, log).ended() == -1


def test_an_adopted_process_is_told_from_a_later_one_with_its_number(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        started = started_at(process.pid)
        assert Child.adopted(process.pid, started, tmp_path).ended() is None
        assert Child.adopted(process.pid, f"{int(started) + 1}", tmp_path).ended() == -1
        child = Child.adopted(process.pid, started, tmp_path)
        child.tell_to_end()
        process.wait(20)
        assert child.ended() == -1
    finally:
        process.kill()
        process.wait()
