"""Finding what runs: living sockets are asked, dead ones go, strangers' are told nothing."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from pagethrift.errors import LinkError, UsageError
from pagethrift.model.relay_protocol import Change
from pagethrift.model.running import RunKind, Running
from pagethrift.outside import finding
from pagethrift.outside.finding import Found, change, chosen, find_running
from tests.unit.outside.sockets import status_socket, use

RUNNING = Running("one", RunKind.RELAY, pid=os.getpid(), guest="vm1", began_unix_s=5.0)


@pytest.fixture
def state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = use(folder, monkeypatch)
    found.mkdir(mode=0o700)
    return found


def test_what_runs_is_found_with_its_memory(state: Path) -> None:
    assert find_running() == []
    with status_socket(RUNNING):
        (found,) = find_running()
        assert found.running == RUNNING
        assert found.rss_bytes > 1 << 20
    assert find_running() == []


def test_one_that_does_not_answer_is_shown_as_such(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "ASK_S", 0.2)
    with socket.socket(socket.AF_UNIX) as stuck, status_socket(RUNNING):
        stuck.bind(str(state / "migrate-1.sock"))
        stuck.listen()
        silent, answers = find_running()
    assert (silent.pid, silent.running) == (1, None)
    assert answers.running == RUNNING


def test_dead_sockets_go_and_other_files_stay(state: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state / "relay-1.sock"))
    (state / "relay-2.sock").write_text("no socket")
    (state / "1-2.settings.json").write_text("{}")
    assert find_running() == []
    assert sorted(path.name for path in state.iterdir()) == ["1-2.settings.json", "relay-2.sock"]


def test_nothing_is_said_to_a_process_of_another_user(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root looks into folders of users, who may put a link to any socket there."""
    monkeypatch.setattr(finding, "ASK_S", 0.3)
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(state / "elsewhere"))
        other.listen()
        other.settimeout(1)

        def serve() -> None:
            try:
                connection, _ = other.accept()
                heard.append(connection.recv(100))
            except TimeoutError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        (state / "relay-1.sock").symlink_to(state / "elsewhere")
        assert find_running() == []
        (state / "relay-1.sock").unlink()
        (state / "elsewhere").rename(state / "relay-1.sock")
        monkeypatch.setattr(finding, "peer_of", lambda connection: (1, os.geteuid() + 1))
        assert find_running() == []
        thread.join(3)
    assert heard in ([], [b""])


def found(**changes: object) -> Found:
    values = {"id": "one", "guest": "vm1", "pid": 11} | changes
    running = Running(**values)  # type: ignore[arg-type]
    return Found(Path("/run/x"), running.pid, running)


def test_the_one_that_is_meant() -> None:
    one, two, three = found(), found(id="two", pid=12), found(id="three", guest="12", pid=13)
    assert chosen([one], None) is one
    assert chosen([one, two], "two") is two
    assert chosen([one, two], "11") is one
    assert chosen([one, two, three], "12") is three, "a guest's name goes before a process number"
    with pytest.raises(UsageError, match=r"2 migrations run here \(one, two\); name one"):
        chosen([one, two], None)
    with pytest.raises(UsageError, match=r"'vm1' is the guest of 2 migrations \(one, two\)"):
        chosen([one, two], "vm1")
    with pytest.raises(UsageError, match=r"no migration 'vm7' runs here.*running: one"):
        chosen([one], "vm7")
    for name in (None, "one"):
        with pytest.raises(UsageError, match="no migration of this user runs here"):
            chosen([], name)
    silent = Found(Path("/run/x"), 5, None)
    with pytest.raises(UsageError, match="no migration '5'"):
        chosen([silent], "5")


def test_a_change_comes_back_as_what_is_in_force(state: Path) -> None:
    asked: list[Change] = []
    with status_socket(RUNNING, asked.append):
        (it,) = find_running()
        assert change(it, Change(0.5)) == RUNNING
    assert asked == [Change(0.5)]
    with pytest.raises(LinkError, match="see by pagethrift top what is in force"):
        change(it, Change(0.6))


def test_a_refused_change_says_why(state: Path) -> None:
    def refuse(wanted: Change) -> None:
        raise UsageError("nothing was changed: the switchover has begun")

    with status_socket(RUNNING, refuse):
        (it,) = find_running()
        with pytest.raises(UsageError, match="the switchover has begun"):
            change(it, Change(0.5))


def test_a_status_sockets_file_is_a_socket(state: Path) -> None:
    with status_socket(RUNNING):
        (path,) = state.iterdir()
        assert stat.S_ISSOCK(path.lstat().st_mode)
