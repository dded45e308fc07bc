"""Connections are bounded, altogether and for each host, and only idle ones are closed for others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pagethrift.address import Address
from pagethrift.service.clients import IDLE_S, Client, Clients, Stage

FAR = Address(host="10.0.0.2", port=49152)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as found:
        yield found


def idle(connection: socket.socket, host: str, since_s: float) -> Client:
    return Client(connection, host, FAR, since_s, server=connection, server_s=since_s)


def test_room_ends_at_the_limits(connection: socket.socket) -> None:
    clients = Clients(4, 3)
    for _ in range(3):
        assert clients.room_for("a", 0.0) is True
        clients.add(Client(connection, "a", FAR, 0.0))
    assert clients.room_for("a", 1e9) is False, "nobody of this host is idle"
    assert clients.room_for("b", 0.0) is True
    clients.add(Client(connection, "b", FAR, 0.0))
    assert clients.room_for("c", 1e9) is False


def test_the_longest_idle_one_of_the_host_with_the_most_goes(connection: socket.socket) -> None:
    clients = Clients(5, 5)
    a, b = [idle(connection, "a", s) for s in (3.0, 1.0, 2.0)], [idle(connection, "b", s) for s in (0.0, 0.5)]
    for each in (*a, *b):
        clients.add(each)
    assert clients.room_for("c", IDLE_S) is False, "nobody was idle for long enough"
    assert clients.room_for("c", IDLE_S + 1.5) is a[1]
    assert clients.remove(a[1])
    assert not clients.remove(a[1])
    assert clients.room_for("c", IDLE_S + 1.5) is True


def test_a_host_with_too_many_loses_its_own(connection: socket.socket) -> None:
    clients = Clients(10, 2)
    mine = [idle(connection, "a", 5.0), idle(connection, "a", 4.0)]
    for each in (*mine, *(idle(connection, "b", 0.0) for _ in range(2))):
        clients.add(each)
    assert clients.room_for("a", IDLE_S + 10) is mine[1]


def test_who_is_found(connection: socket.socket) -> None:
    clients = Clients(10, 10)
    first, second = Client(connection, "a", FAR, 0.0), Client(connection, "b", FAR, 0.0, Stage.WAITING)
    clients.add(first)
    clients.add(second)
    assert clients.of() == [first, second]
    assert clients.of(Stage.WAITING) == [second]
    assert clients.of(key=first.key) == [first]
    assert clients.of(Stage.WAITING, key=first.key) == []
    assert len(clients) == 2
