"""A service says what happens to people and to programs, and is held up by neither."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from pagethrift.line_writer import LineWriter
from pagethrift.service.telling import OFTEN, OFTEN_S, Teller


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    found = (*os.pipe(), *os.pipe())
    yield found
    for each in found:
        os.close(each)


def lines(read_fd: int) -> list[str]:
    os.set_blocking(read_fd, False)
    try:
        return os.read(read_fd, 1 << 16).decode().splitlines()
    except BlockingIOError:
        return []


def test_words_and_an_object(pipes: tuple[int, int, int, int]) -> None:
    teller = Teller(LineWriter(pipes[1]), LineWriter(pipes[3]), lambda: 12.3456)
    teller.tell("begin", "a-1: begins\nnow", id="a-1", tls=None)
    assert lines(pipes[0]) == ["pagethrift: a-1: begins now"]
    (found,) = lines(pipes[2])
    assert json.loads(found) == {"type": "begin", "service": 1, "time": 12.346, "id": "a-1", "tls": None}
    teller.tell("pipe", "")
    assert lines(pipes[0]) == []
    assert len(lines(pipes[2])) == 1


def test_a_scanner_does_not_fill_a_disk(pipes: tuple[int, int, int, int]) -> None:
    now = [1000.0]
    teller = Teller(LineWriter(pipes[1]), None, lambda: now[0])
    for _ in range(OFTEN + 30):
        teller.refused("10.0.0.9", "no reason")
    assert len(lines(pipes[0])) == OFTEN
    now[0] += OFTEN_S + 1
    teller.refused("10.0.0.9", "no reason")
    assert lines(pipes[0]) == [
        "pagethrift: closed 30 more connections meanwhile",
        "pagethrift: closed a connection from 10.0.0.9: no reason",
    ]


def test_who_does_not_read_holds_up_nothing(pipes: tuple[int, int, int, int]) -> None:
    teller = Teller(LineWriter(pipes[1]), LineWriter(pipes[3]))
    os.set_blocking(pipes[1], True)
    fill(pipes[1])
    began_s = time.monotonic()
    for _ in range(5):
        teller.tell("begin", "word")
    assert time.monotonic() - began_s < 2
    assert len(lines(pipes[2])) == 5


def fill(write_fd: int) -> None:
    os.set_blocking(write_fd, False)
    try:
        while os.write(write_fd, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(write_fd, True)
