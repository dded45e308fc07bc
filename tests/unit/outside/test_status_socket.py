"""The status socket: for its owner only, one after the other, and never in anybody's way."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from pagethrift.errors import UsageError
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import AskStatus, Change, Go, encode_command
from pagethrift.model.running import RunKind, Running, decode_answer
from pagethrift.outside import status_socket as module
from pagethrift.outside.status_socket import open_status_socket, process_of, receive_line
from tests.unit.outside.sockets import status_socket, use

RUNNING = Running("one", pid=os.getpid(), in_bytes=5)


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use(folder, monkeypatch) / f"relay-{os.getpid()}.sock"


def said(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it did not even read
            connection.sendall(data)
            while more := connection.recv(65536):
                answer += more
        return answer


def test_answers_one_question_a_connection(place: Path) -> None:
    with status_socket(RUNNING):
        assert place.stat().st_mode & 0o777 == 0o600
        for _ in range(3):
            assert decode_answer(said(place, encode_command(AskStatus()))) == RUNNING
    assert not place.exists()


def test_a_change_is_carried_out_or_refused_by_its_reason(place: Path) -> None:
    asked: list[Change] = []

    def change(wanted: Change) -> None:
        asked.append(wanted)
        if wanted.bandwidth_bps == 1:
            raise UsageError("too late")

    with status_socket(RUNNING, change):
        assert decode_answer(said(place, encode_command(Change(0.5)))) == RUNNING
        with pytest.raises(UsageError, match="too late"):
            decode_answer(said(place, encode_command(Change(None, 1))))
        for line in (b"{}\n", b'{"set": {"downtime_limit_s": 0}}\n', encode_command(Go())):
            with pytest.raises(UsageError):
                decode_answer(said(place, line))
    assert asked == [Change(0.5), Change(None, 1)]


def test_who_says_nothing_or_too_much_is_sent_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_S", 0.2)
    with status_socket(RUNNING):
        before = threading.active_count()
        silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for each in silent:
            each.connect(str(place))
        began_s = time.monotonic()
        assert decode_answer(said(place, encode_command(AskStatus()))) == RUNNING
        assert time.monotonic() - began_s < 8 * 0.2 + 2
        assert threading.active_count() == before, "one thread for all"
        for each in silent:
            each.close()
        with pytest.raises(UsageError, match="longer than"):
            decode_answer(said(place, b"x" * (LINE_MAX_BYTES + 1)))


def test_bytes_that_drip_do_not_hold_the_thread(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            far.send(b" ")

    threading.Thread(target=drip, daemon=True).start()
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        receive_line(near, 0.3)
    assert time.monotonic() - began_s < 1
    stop.set()
    near.close()
    time.sleep(0.05)
    far.close()


def test_an_error_in_the_answer_ends_nothing(place: Path) -> None:
    calls = 0

    def running() -> Running:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return RUNNING

    opened = open_status_socket(RunKind.RELAY, running, lambda change: None, lambda line: None)
    assert opened is not None
    assert said(place, encode_command(AskStatus())) == b""
    assert decode_answer(said(place, encode_command(AskStatus()))) == RUNNING
    opened.close()


def test_another_user_gets_no_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with status_socket(RUNNING):
        monkeypatch.setattr(module, "peer_of", lambda connection: (1, os.geteuid() + 1))
        assert said(place, encode_command(AskStatus())) == b""


def test_what_a_killed_process_left_is_replaced_and_swept(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    other, foreign = place.with_name("migrate-4194303.sock"), place.with_name("mine.sock")
    for path in (place, other, foreign):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    living = socket.socket(socket.AF_UNIX)
    living.bind(str(place.with_name("relay-1.sock")))  # not listening yet: it is about to
    with status_socket(RUNNING):
        assert decode_answer(said(place, encode_command(AskStatus()))) == RUNNING
        assert not other.exists()
        assert foreign.exists(), "no status socket's name"
        assert place.with_name("relay-1.sock").exists()
    living.close()


@pytest.mark.parametrize("case", ["no folder", "too long", "busy"])
def test_where_there_can_be_none_that_is_only_a_warning(
    case: str, place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    if case == "no folder":
        (folder / "pagethrift").write_text("")
    elif case == "too long":
        deep = folder / ("x" * 100)
        deep.mkdir()
        use(deep, monkeypatch)
        monkeypatch.setattr("pagethrift.sockets._SocketFile.name_for_bind", lambda self: self._path)
    else:
        place.parent.mkdir(mode=0o700)
        place.mkdir()
    assert open_status_socket(RunKind.RELAY, lambda: RUNNING, lambda change: None, warnings.append) is None
    (warning,) = warnings
    assert "pagethrift top does not show this one" in warning


def test_its_name_is_told_from_others() -> None:
    names = {"relay-12.sock": 12, "migrate-7.sock": 7, "relay-.sock": None, "relay-1-2.sock": None,
             "thin-1.sock": None, "relay-99999999999.sock": None, "relay-1.sock.part": None}  # fmt: skip
    assert {name: process_of(Path("/run") / name) for name in names} == names
