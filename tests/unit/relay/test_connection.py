"""One connection over real sockets."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from pagethrift.relay.connection import SEND_BYTES, Connection


@pytest.fixture(params=["unix", "tcp"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Connection, socket.socket]]:
    if request.param == "unix":
        near, far = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
    connection = Connection(near)
    yield connection, far
    connection.close()
    far.close()


def test_pieces_go_in_order_and_what_is_left_stays(ends: tuple[Connection, socket.socket]) -> None:
    connection, far = ends
    far.settimeout(5)
    sent = [bytes([i]) * (SEND_BYTES // 3) for i in range(30)]
    pieces = deque(memoryview(piece) for piece in sent)
    received = bytearray()
    while pieces:
        before = sum(map(len, pieces))
        if connection.wait_writable(0.01):
            count = connection.write(pieces)
            assert 0 <= count <= SEND_BYTES
            assert before - count == sum(map(len, pieces))
        else:
            received += far.recv(1 << 20)
    assert connection.sent_bytes == sum(map(len, sent))
    while len(received) < connection.sent_bytes:
        received += far.recv(1 << 20)
    assert bytes(received) == b"".join(sent)


def test_a_full_socket_takes_nothing_and_says_so(ends: tuple[Connection, socket.socket]) -> None:
    connection, far = ends
    pieces = deque([memoryview(bytes(64 << 20))])
    connection.bound_unsent(128 << 10)
    while connection.wait_writable(0.2):
        connection.write(pieces)
    assert connection.write(pieces) == 0 or connection.sent_bytes < 64 << 20
    assert connection.unacknowledged_bytes() > 0
    far.close()

    def write_on() -> None:
        for _ in range(100):
            connection.wait_writable(0.1)
            connection.write(deque([memoryview(b"more")]))

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        write_on()


def test_what_comes_back(ends: tuple[Connection, socket.socket]) -> None:
    connection, far = ends
    assert connection.receive(0.01) is None
    far.sendall(b"answer")
    assert connection.receive(5) == b"answer"
    connection.finish()
    far.settimeout(5)
    assert far.recv(1) == b""
    far.sendall(b"late")
    assert connection.receive(5) == b"late", "the way back stays open"
    far.shutdown(socket.SHUT_WR)
    assert connection.receive(5) == b""


def test_closing_ends_a_wait(ends: tuple[Connection, socket.socket]) -> None:
    connection, far = ends
    connection.close()
    connection.close()
    assert connection.unsent_bytes() == 0
    far.settimeout(5)
    assert far.recv(1) == b""


def test_many_threads_may_wait_at_once(ends: tuple[Connection, socket.socket]) -> None:
    """A poll() object refuses to wait in two of them."""
    connection, _ = ends
    pieces = deque([memoryview(bytes(64 << 20))])
    while connection.wait_writable(0.1):
        connection.write(pieces)
    found: list[object] = []

    def wait() -> None:
        try:
            found.append((connection.wait_writable(0.2), connection.receive(0.2)))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(False, None)] * 8


def test_a_closed_connection_is_an_error_of_the_system(ends: tuple[Connection, socket.socket]) -> None:
    connection, _ = ends
    connection.close()
    with pytest.raises(OSError, match="closed"):
        connection.wait_writable(0.1)
    with pytest.raises(OSError, match="closed"):
        connection.receive(0.1)
