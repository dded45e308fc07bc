"""The encrypted connection: bytes both ways, what counts, how it ends, and who listens in."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.relay.connecting import open_connection
from pagethrift.relay.tls_connection import TlsConnection
from pagethrift.tls import load_tls
from tests.certificates import client_folder
from tests.unit.relay.tls_destination import Scene, echo, playing, receive, write_all


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with playing(tmp_path) as scene:
        yield scene


def test_bytes_both_ways_at_once_and_an_orderly_end(scene: Scene) -> None:
    """A thread writes, another receives; after close_notify the way back is still open."""
    seen: list[str] = []
    scene.serve(echo(scene.server(), seen))
    connection = scene.open()
    assert isinstance(connection, TlsConnection)
    sent = [os.urandom(size) for size in (1, 9, 4096, 9, 4096, 70_000, 300_000, 16_384, 1 << 20) * 6]
    back: list[bytes] = []
    total = sum(map(len, sent))
    reader = threading.Thread(target=lambda: back.append(receive(connection, total)))
    reader.start()
    handshake = connection.sent_bytes
    assert handshake > 0
    taken = write_all(connection, deque(memoryview(each) for each in sent))
    assert taken == total
    wire = connection.sent_bytes - handshake
    assert total < wire < total * 1.01, "22 bytes a record of up to 16 KiB"
    reader.join(10)
    assert back == [b"".join(sent)]
    connection.finish()
    assert receive(connection, 5) == b"late"
    assert seen == ["TLSv1.3", "close_notify"]


def test_what_was_not_read_yet_survives_the_end(scene: Scene) -> None:
    """OpenSSL's shutdown fails when something waits to be read."""
    scene.serve(echo(scene.server()))
    connection = scene.open()
    write_all(connection, deque([memoryview(b"x" * 100_000)]))
    assert connection.wait_readable(5)
    time.sleep(0.2)
    connection._take_in()  # type: ignore[attr-defined]
    connection.finish()
    assert receive(connection, 200_000) == b"x" * 100_000 + b"late"
    assert connection.receive(1) == b""


def test_what_is_encrypted_and_not_sent_counts_as_unsent(scene: Scene) -> None:
    go = threading.Event()
    received = bytearray()

    def serve(accepted: socket.socket) -> None:
        with scene.server().wrap_socket(accepted, server_side=True) as encrypted:
            encrypted.sendall(b"!")
            go.wait(10)
            while data := encrypted.recv(1 << 20):
                received.extend(data)

    scene.serve(serve)
    connection = scene.open()
    connection.bound_unsent(64 << 10)
    assert receive(connection, 1) == b"!"
    data = os.urandom(8 << 20)
    pieces = deque([memoryview(data)])
    while connection.wait_writable(0.3):
        connection.write(pieces)
    left = sum(map(len, pieces))
    hidden = len(connection._encrypted)  # type: ignore[attr-defined]
    assert 0 < connection.unsent_bytes() <= connection.unacknowledged_bytes()
    assert left >= hidden >= 0
    assert connection.write(pieces) == 0
    go.set()
    write_all(connection, pieces)
    connection.finish()
    while connection.receive(0.2) != b"":
        pass
    assert bytes(received) == data


def test_nothing_to_receive_costs_no_time(scene: Scene) -> None:
    scene.serve(echo(scene.server()))
    connection = scene.open()
    before_s = time.process_time()
    for _ in range(5):
        assert connection.receive(0.1) is None
    assert time.process_time() - before_s < 0.1


def test_any_thread_may_close(scene: Scene) -> None:
    """While one waits for bytes and another for room."""

    def serve(accepted: socket.socket) -> None:
        with scene.server().wrap_socket(accepted, server_side=True):
            time.sleep(1)

    scene.serve(serve)
    connection = scene.open()
    ends: list[object] = []

    def read() -> None:
        try:
            while connection.receive(5) is None:
                pass
            ends.append("end")
        except (OSError, ValueError) as error:
            ends.append(error)

    def write() -> None:
        try:
            write_all(connection, deque([memoryview(bytes(64 << 20))]))
        except (OSError, ValueError) as error:
            ends.append(error)

    threads = [threading.Thread(target=each, daemon=True) for each in (read, write)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    connection.close()
    connection.close()
    for thread in threads:
        thread.join(3)
        assert not thread.is_alive()
    assert len(ends) == 2


def test_a_second_connection_of_the_same_migration(scene: Scene) -> None:
    server = scene.server()
    tls = load_tls(client_folder(scene.folder / "client", scene.ours), scene.address)
    for _ in range(3):
        scene.serve(echo(server))
        scene.opened.append(open_connection(scene.address, tls))
    for number, connection in enumerate(scene.opened):
        write_all(connection, deque([memoryview(b"%d" % number)]))
    assert [receive(connection, 1) for connection in scene.opened] == [b"0", b"1", b"2"]


def test_who_listens_in_sees_nothing_of_the_guest(scene: Scene) -> None:
    """All that crosses the wire, both ways, without a byte of what was sent."""
    seen = bytearray()
    server = scene.server()
    with socket.create_server(("127.0.0.1", 0)) as inner:
        behind = Scene(scene.folder / "behind", inner, ours=scene.ours)
        behind.serve(echo(server))

        def listen_in(accepted: socket.socket) -> None:
            with socket.create_connection(inner.getsockname()) as onward:
                copies = [
                    threading.Thread(target=copy, args=each)
                    for each in ((accepted, onward), (onward, accepted))
                ]
                for thread in copies:
                    thread.start()
                for thread in copies:
                    thread.join(10)

        def copy(source: socket.socket, to: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    seen.extend(data)
                    to.sendall(data)
                to.shutdown(socket.SHUT_WR)

        scene.serve(listen_in)
        connection = scene.open()
        secret = b"the guest's secret page" * 100
        write_all(connection, deque([memoryview(secret)]))
        assert receive(connection, len(secret)) == secret
        connection.finish()
        receive(connection, 5)
    assert len(seen) > 2 * len(secret)
    assert b"secret" not in seen
    assert b"test client" not in seen, "TLS 1.3 hides the certificates, too"


def test_who_changes_a_byte_is_noticed(scene: Scene) -> None:
    """The way back decides whether the guest has arrived: it must be the destination's own word."""

    def serve(accepted: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = scene.server().wrap_bio(incoming, outgoing, server_side=True)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                server.do_handshake()
                break
            accepted.sendall(outgoing.read())
            incoming.write(accepted.recv(65536))
        outgoing.read()
        server.write(b"an answer")
        made = bytearray(outgoing.read())
        made[-1] ^= 1
        accepted.sendall(made)
        accepted.recv(65536)

    scene.serve(serve)
    connection = scene.open()
    with pytest.raises(OSError, match=r"bad record mac|decryption failed"):
        receive(connection, 1, 5)


@pytest.mark.parametrize(("finished", "answers"), [(True, True), (False, True), (True, False)])
def test_a_reset_is_the_end_only_behind_ours(scene: Scene, finished: bool, answers: bool) -> None:
    """QEMU closes without having read close_notify, and its kernel makes a reset of that."""

    def serve(accepted: socket.socket) -> None:
        encrypted = scene.server().wrap_socket(accepted, server_side=True)
        if answers:
            encrypted.sendall(b"!")
        time.sleep(0.3)
        with socket.socket(fileno=encrypted.detach()) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    scene.serve(serve)
    connection = scene.open()
    if answers:
        assert receive(connection, 1) == b"!"
    if finished:
        connection.finish()
    if finished and answers:
        assert receive(connection, 1) == b""
    else:
        with pytest.raises(OSError, match="reset"):
            receive(connection, 1)


def test_a_channel_ends_with_close_notify_although_nothing_ever_comes_back(scene: Scene) -> None:
    """QEMU's multifd threads read to the end, and take an end without it for an error."""
    ends: list[bytes] = []

    def serve(accepted: socket.socket) -> None:
        context = scene.server()
        with context.wrap_socket(accepted, server_side=True, suppress_ragged_eofs=False) as encrypted:
            ends.extend([encrypted.recv(10), encrypted.recv(10)])

    scene.serve(serve)
    tls = load_tls(client_folder(scene.folder / "client", scene.ours), scene.address)
    connection = open_connection(scene.address, tls, channel=True)
    scene.opened.append(connection)
    write_all(connection, deque([memoryview(b"x")]))
    connection.finish()
    assert receive(connection, 1) == b""
    assert ends == [b"x", b""]
