"""Strangers on a TCP port, one host of many sockets, and a storm of them during a whole migration."""

from __future__ import annotations

import contextlib
import random
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError
from pagethrift.model.relay_protocol import RelayState, RelayStatus
from pagethrift.relay import callers
from pagethrift.relay.callers import Caller, Callers
from pagethrift.relay.doors import Listening
from pagethrift.relay.session import Relay
from pagethrift.sockets import host_of, listen
from pagethrift.strategies.table import strategy
from pagethrift.stream.image import image
from pagethrift.stream.opening import Opening
from pagethrift.stream.packets import PacketFlag
from pagethrift.stream.synthetic import StreamBuilder, handshake, packet
from tests.services import free_port
from tests.streams import before

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
BEGINNINGS = (
    b"", b"\x11", b"\x11\x22\x33\x44", handshake(0), handshake(0) + packet(flags=PacketFlag.SYNC),
    handshake(3, b"x" * 16), b"QEVM", StreamBuilder().finish()[:12], b"\x16\x03\x01\x02\x00\x01",
    b"GET / HTTP/1.1\r\n", bytes(5000), b"SSH-2.0-x\r\n", b"\x16",
)  # fmt: skip
"""all that stops short of imitating a source"""


class Door:
    """Callers behind a TCP port, driven by hand."""

    def __init__(self) -> None:
        self.port = free_port(HERE)
        self.listening = Listening(Address(host=HERE, port=self.port))
        self.poller = select.epoll()
        self.refused: list[Caller] = []
        self.callers = Callers(self.listening, self.poller, self.refused.append)
        self.sockets: list[socket.socket] = []

    def connect(self, data: bytes = b"", host: str = HERE) -> socket.socket:
        found = socket.socket()
        found.bind((host, 0))
        found.connect((HERE, self.port))
        found.sendall(data)
        self.sockets.append(found)
        return found

    def look(self) -> list[Caller]:
        time.sleep(0.02)
        self.callers.accept()
        self.callers.hear_all()
        return self.callers.all()

    def close(self) -> None:
        self.callers.refuse_all()
        self.listening.close()
        for each in self.sockets:
            each.close()
        self.poller.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_one_hosts_callers_cannot_push_out_anothers(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "CALLERS_MAX", 8)
    door.connect(handshake(0))
    door.connect()
    assert len(door.look()) == 2
    for _ in range(30):
        door.connect(host=ELSEWHERE)
    waiting = door.look()
    assert len(waiting) == 8
    assert [caller.host for caller in waiting].count(HERE) == 2
    assert {caller.host for caller in door.refused} == {ELSEWHERE}


def test_the_silent_go_before_those_who_have_begun_well(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "CALLERS_MAX", 4)
    door.connect(handshake(0))
    for _ in range(9):
        door.connect()
    assert Opening.GREETED in [caller.opening for caller in door.look()]


def test_who_says_nothing_is_closed_in_time(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.connect()
    door.connect(handshake(0))
    door.connect(b"\x11\x22\x33\x44")
    assert len(door.look()) == 3
    monkeypatch.setattr(callers, "CALLER_TIMEOUT_S", 0.0)
    door.callers.expire()
    assert [caller.opening for caller in door.callers.all()] == [Opening.GREETED]
    monkeypatch.setattr(callers, "GREETED_TIMEOUT_S", 0.0)
    door.callers.expire()
    assert door.callers.all() == []


def test_no_more_is_kept_of_a_caller_than_tells_it_apart(door: Door) -> None:
    door.connect(handshake(0) + packet(flags=PacketFlag.SYNC) + bytes(100_000))
    (caller,) = door.look()
    assert caller.opening is Opening.CHANNEL
    assert len(caller.head) == 1408
    assert door.poller.poll(0) == [], "the rest wakes nobody"


def test_without_descriptors_somebody_goes_and_nothing_fails(door: Door) -> None:
    for _ in range(10):
        door.connect()
    assert len(door.look()) == 10
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = door.connect()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
        door.look()
        door.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert door.refused
    assert waiting.getsockname() in [caller.connection.getpeername() for caller in door.look()]


def test_the_host_of_a_connection(door: Door, folder: Path) -> None:
    door.connect(host=ELSEWHERE)
    (caller,) = door.look()
    assert caller.host == ELSEWHERE
    near, far = socket.socketpair()
    with near, far:
        assert host_of(near).startswith("user ")
    with socket.socket() as unconnected:
        assert host_of(unconnected) == "?"


def _storm(port: int, over: threading.Event, made: list[int], seed: int) -> None:
    """Connect without a pause, keep some connections open, and say everything but what a source says."""
    rng, kept = random.Random(seed), []
    while not over.is_set():
        with contextlib.suppress(OSError):
            each = socket.socket()
            each.settimeout(0.2)
            each.bind((rng.choice(("127.0.0.2", "127.0.0.3", "127.0.0.4")), 0))
            each.connect((HERE, port))
            made[0] += 1
            each.sendall(rng.choice(BEGINNINGS))
            kept.append(each)
        if len(kept) > 100:
            kept.pop(rng.randrange(100)).close()
        time.sleep(0.005)
    for each in kept:
        each.close()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [0, 3])
def test_a_storm_of_strangers_during_a_whole_migration_changes_nothing(folder: Path, channels: int) -> None:
    """About 20 000 connections a minute, of three hosts, before, during and after RAM's first section."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port = probe.getsockname()[1]
    far = Address(path=str(folder / "far"))
    statuses: list[RelayStatus] = []
    errors: list[Exception] = []
    over, made = threading.Event(), [0]
    listener = listen(far)
    relay = Relay(Address(host=HERE, port=port), far, strategy("pagethrift"), statuses.append)

    def run() -> None:
        try:
            relay.run()
        except LinkError as error:
            errors.append(error)

    received = bytearray()

    def swallow() -> None:
        connection, _ = listener.accept()
        while data := connection.recv(1 << 16):
            received.extend(data)
        connection.close()

    workers = [threading.Thread(target=each, daemon=True) for each in (run, swallow)]
    storms = [threading.Thread(target=_storm, args=(port, over, made, i), daemon=True) for i in range(2)]
    for thread in (*workers, *storms):
        thread.start()
    time.sleep(0.5)
    threads_before = threading.active_count()
    rng = random.Random(5)
    builder, plain = StreamBuilder([("pc.ram", 64)], flush=bool(channels)), StreamBuilder([("pc.ram", 64)])
    sockets = [socket.create_connection((HERE, port), 5) for _ in range(channels + 1)]
    for i, each in enumerate(sockets[:channels]):
        each.sendall(handshake(i) + packet(flags=PacketFlag.SYNC))
    main = sockets[-1]
    main.sendall(_flushed(builder))
    for turn in range(30):
        last = turn == 29
        builder.begin_body(last)
        plain.begin_body(last)
        for page in range(8):
            content = rng.randbytes(4096)
            plain.page(0, page, content)
            if channels:
                sockets[page % channels].sendall(packet("pc.ram", [(page, content)]))
            else:
                builder.page(0, page, content)
        if channels:
            for each in sockets[:channels]:
                each.sendall(packet(flags=PacketFlag.SYNC))
            builder.flush()
        builder.end_body()
        plain.end_body()
        main.sendall(_flushed(builder))
        time.sleep(0.1)
        assert threading.active_count() <= threads_before + channels + 2, "a stranger costs no thread"
    main.sendall(b"\x04device state")
    main.shutdown(socket.SHUT_WR)
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()
    over.set()
    for storm in storms:
        storm.join(5)
    for connection in (*sockets, listener):
        connection.close()
    assert errors == []
    assert statuses[-1].state is RelayState.DONE
    assert statuses[-1].refused > 100
    assert made[0] > 300
    stream = plain.finish(b"\x04device state")
    assert (image(bytes(received), before).memory == image(stream, before).memory).all()


def _flushed(builder: StreamBuilder) -> bytes:
    data = b"".join(bytes(part) for part in builder.parts)
    builder.parts.clear()
    return data


def test_turning_strangers_away_costs_little(folder: Path) -> None:
    """A thousand of them in mid-stream: measured 0.1 s of processor time with the connecting itself."""
    near, far = Address(path=str(folder / "near")), Address(path=str(folder / "far"))
    with listen(far) as listener:
        relay = Relay(near, far, strategy("pagethrift"), lambda _: None)
        runner = threading.Thread(target=lambda: _until_over(relay), daemon=True)
        runner.start()
        main = socket.socket(socket.AF_UNIX)
        main.connect(near.path)
        main.sendall(_flushed(StreamBuilder()))
        destination, _ = listener.accept()
        destination.recv(100)
        began_s = time.process_time()
        for i in range(1000):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(near.path)
                with contextlib.suppress(OSError):
                    stranger.sendall(BEGINNINGS[i % len(BEGINNINGS)])
        spent_s = time.process_time() - began_s
        assert runner.is_alive()
        relay.abort(LinkError("the test is over"))
        runner.join(5)
        main.close()
        destination.close()
    assert spent_s < 3


def _until_over(relay: Relay) -> None:
    with contextlib.suppress(LinkError):
        relay.run()
