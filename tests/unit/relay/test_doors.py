"""A relay behind a service: connections that are handed over, and whoever came before the relay asked."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError
from pagethrift.model.relay_protocol import Handing, RelayState, RelayStatus
from pagethrift.relay import doors
from pagethrift.relay.doors import HandedOver, Listening, door_at
from pagethrift.relay.session import Relay
from pagethrift.sockets import listen
from pagethrift.strategies.table import strategy
from pagethrift.stream.image import image
from tests.streams import before, random_stream


class Service:
    """The other end of a door."""

    def __init__(self) -> None:
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.settimeout(5)
        self.door = HandedOver(theirs.detach())

    def hand(self, data: bytes = b"") -> socket.socket:
        """Hand one end of a new connection over; return the other."""
        given, kept = socket.socketpair()
        kept.sendall(data)
        kept.settimeout(5)
        socket.send_fds(self.end, [Handing.CONNECTION], [given.fileno()])
        given.close()
        return kept


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.door.close()
    service.end.close()


def test_connections_come_one_by_one_and_block(service: Service) -> None:
    one, two = service.hand(b"1"), service.hand(b"2")
    poller = select.epoll()
    poller.register(service.door, select.EPOLLIN)
    assert poller.poll(1)
    for other, word in ((one, b"1"), (two, b"2")):
        found = service.door.take()
        assert isinstance(found, socket.socket)
        assert found.recv(9) == word
        assert found.gettimeout() is None
        found.close()
        assert other.recv(1) == b""
    assert service.door.take() is None
    assert poller.poll(0) == []
    poller.close()


def test_settling_waits_for_the_answer_and_keeps_who_came_before_it(service: Service) -> None:
    def answer() -> None:
        assert service.end.recv(9) == Handing.WHO_ELSE
        time.sleep(0.1)
        service.hand(b"late")
        service.end.send(Handing.NOBODY_ELSE)

    early = service.hand(b"early")
    answering = threading.Thread(target=answer)
    answering.start()
    service.door.settle()
    answering.join()
    words = []
    while isinstance(found := service.door.take(), socket.socket):
        words.append(found.recv(9))
        found.close()
    assert words == [b"early", b"late"]
    assert early.recv(1) == b""


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "silent"])
def test_a_service_that_does_not_answer_is_not_waited_for(
    service: Service, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "SETTLE_S", 0.2)
    if gone:
        service.end.close()
    began_s = time.monotonic()
    service.door.settle()
    assert time.monotonic() - began_s < 2
    assert service.door.take() is None


def test_the_service_sees_that_nobody_is_wanted_any_more(service: Service) -> None:
    service.door.expect_nobody()
    assert service.end.recv(9) == b""
    with pytest.raises(BrokenPipeError):
        service.hand()
    assert service.door.take() is None


def test_who_was_not_taken_is_closed(service: Service) -> None:
    connection = service.hand()
    service.door.shut()
    service.door.close()
    assert connection.recv(1) == b""


def test_an_address_is_a_door_that_listens(folder: Path) -> None:
    address = Address(path=str(folder / "near"))
    door = door_at(address)
    assert isinstance(door, Listening)
    assert str(door) == str(address)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(address.path)
        door.settle()
        found = door.take()
        assert isinstance(found, socket.socket)
        found.close()
        assert door.take() is None
    door.close()
    assert not (folder / "near").exists()
    assert door_at(door) is door


@pytest.mark.parametrize("made", [True, False], ids=["connected-before", "connects-itself"])
def test_a_migration_that_was_handed_over(service: Service, folder: Path, made: bool) -> None:
    """With the destination's connection as well, where the service had to open it before anybody spoke."""
    statuses: list[RelayStatus] = []
    far, received = Address(path=str(folder / "far")), bytearray()
    with listen(far) as listener:
        connected = None
        if made:
            connected = socket.socket(socket.AF_UNIX)
            connected.connect(far.path)
        relay = Relay(service.door, far, strategy("pagethrift"), statuses.append, connected=connected)
        runner = threading.Thread(target=relay.run, daemon=True)
        runner.start()
        stream = random_stream(7)

        def receive() -> None:
            destination, _ = listener.accept()
            with destination, contextlib.suppress(OSError):
                while data := destination.recv(1 << 16):
                    received.extend(data)

        def answer() -> None:
            if service.end.recv(9) == Handing.WHO_ELSE:
                service.end.send(Handing.NOBODY_ELSE)

        threads = [threading.Thread(target=each, daemon=True) for each in (receive, answer)]
        for each in threads:
            each.start()
        main = service.hand(stream[:100])
        main.sendall(stream[100:])
        main.shutdown(socket.SHUT_WR)
        runner.join(20)
        assert not runner.is_alive()
        for each in threads:
            each.join(5)
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert statuses[-1].state is RelayState.DONE
    assert (image(bytes(received), before).memory == image(stream, before).memory).all()


def test_a_relay_that_is_aborted_lets_the_door_go(service: Service, folder: Path) -> None:
    far = Address(path=str(folder / "far"))
    relay = Relay(service.door, far, strategy("pagethrift"), lambda _: None)
    failed: list[Exception] = []

    def run() -> None:
        try:
            relay.run()
        except LinkError as error:
            failed.append(error)

    runner = threading.Thread(target=run, daemon=True)
    runner.start()
    relay.abort(LinkError("enough"))
    runner.join(5)
    assert [str(each) for each in failed] == ["enough"]
    assert service.end.recv(9) == b""
