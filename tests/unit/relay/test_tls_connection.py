"""The encrypted connection against real TLS servers: OpenSSL's, and what answers without TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError
from pagethrift.relay import tls_connection
from pagethrift.relay.connecting import open_connection
from pagethrift.relay.connection import SEND_BYTES, Connection
from pagethrift.relay.tls_connection import TlsConnection
from pagethrift.tls import load_tls
from tests.certificates import Authority, client_folder, server_folder

Serve = Callable[[socket.socket], None]


@dataclass
class Scene:
    """A listening destination; each ``serve`` plays it for one connection."""

    folder: Path
    listener: socket.socket
    threads: list[threading.Thread] = field(default_factory=list)
    opened: list[Connection] = field(default_factory=list)
    ours: Authority = field(default_factory=Authority)

    @property
    def address(self) -> Address:
        return Address(host="localhost", port=self.listener.getsockname()[1])

    def serve(self, serve: Serve) -> None:
        def run() -> None:
            with contextlib.suppress(OSError), self.listener.accept()[0] as accepted:
                serve(accepted)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

    def open(self, folder: Path | None = None, hostname: str = "") -> Connection:
        tls = load_tls(folder or client_folder(self.folder / "client", self.ours), self.address, hostname)
        self.opened.append(open_connection(self.address, tls))
        return self.opened[-1]

    def server(self, folder: Path | None = None) -> ssl.SSLContext:
        """Return the settings of a server that verifies its peer, as QEMU's does."""
        folder = folder or server_folder(self.folder / "server", self.ours)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
        context.load_verify_locations(folder / "ca-cert.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scene = Scene(tmp_path, listener)
        yield scene
        for each in scene.opened:
            each.close()
    for thread in scene.threads:
        thread.join(5)
        assert not thread.is_alive()


def write_all(connection: Connection, pieces: deque[memoryview], timeout_s: float = 20.0) -> int:
    """Write as the outlet does; return the plain bytes that were taken."""
    taken, deadline_s = 0, time.monotonic() + timeout_s
    while pieces:
        assert time.monotonic() < deadline_s
        if connection.wait_writable(0.2):
            before = sum(map(len, pieces))
            count = connection.write(pieces)
            assert 0 <= count <= SEND_BYTES
            assert before - count == sum(map(len, pieces))
            taken += count
    return taken


def receive(connection: Connection, size: int, timeout_s: float = 10.0) -> bytes:
    """Return ``size`` bytes that came back, or all up to the end."""
    data, deadline_s = bytearray(), time.monotonic() + timeout_s
    while len(data) < size:
        assert time.monotonic() < deadline_s
        more = connection.receive(0.2)
        if more == b"":
            break
        data += more or b""
    return bytes(data)


def echo(server: ssl.SSLContext, versions: list[str] | None = None) -> Serve:
    """Return a destination that sends everything back, up to close_notify."""

    def serve(accepted: socket.socket) -> None:
        with server.wrap_socket(accepted, server_side=True, suppress_ragged_eofs=False) as encrypted:
            if versions is not None:
                versions.append(str(encrypted.version()))
            while data := encrypted.recv(65536):
                encrypted.sendall(data)
            if versions is not None:
                versions.append("close_notify")
            encrypted.sendall(b"late")

    return serve


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
    assert connection._readable.poll(5000)
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


def refused(scene: Scene, says: str, folder: Path | None = None, hostname: str = "") -> None:
    with pytest.raises(LinkError, match=says) as caught:
        scene.open(folder, hostname)
    line = str(caught.value)
    assert line.startswith(f"TLS with {scene.address}: ")
    assert "\n" not in line
    assert "_ssl" not in line


def handshake(context: ssl.SSLContext) -> Serve:
    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as encrypted:
            encrypted.recv(1)

    return serve


def test_a_destination_of_another_authority(scene: Scene) -> None:
    """Somebody in its place, with a certificate of his own making."""
    stranger = server_folder(scene.folder / "server", scene.ours, issuer=Authority("stranger"))
    scene.serve(handshake(scene.server(stranger)))
    refused(scene, "its certificate is of no authority in .*/client/ca-cert.pem")


def test_a_destination_whose_certificate_has_expired(scene: Scene) -> None:
    scene.serve(handshake(scene.server(server_folder(scene.folder / "server", scene.ours, days=-1))))
    refused(scene, "its certificate is refused: certificate has expired")


def test_a_destination_whose_certificate_was_revoked(scene: Scene) -> None:
    server = server_folder(scene.folder / "server", scene.ours)
    revoked = scene.ours.issue(server, "server", ["localhost"])
    scene.serve(handshake(scene.server(server)))
    folder = client_folder(scene.folder / "client", scene.ours)
    scene.ours.revoke(folder, revoked)
    refused(scene, "its certificate is refused: certificate revoked", folder)


def test_another_host_with_a_good_certificate(scene: Scene) -> None:
    scene.serve(handshake(scene.server(server_folder(scene.folder / "server", scene.ours, ["host3"]))))
    refused(scene, "its certificate is not for localhost; .*--tls-hostname")


def test_the_name_that_is_given_is_the_one_that_counts(scene: Scene) -> None:
    scene.serve(echo(scene.server(server_folder(scene.folder / "server", scene.ours, ["host3"]))))
    connection = scene.open(hostname="host3")
    write_all(connection, deque([memoryview(b"x")]))
    assert receive(connection, 1) == b"x"


def test_a_certificate_that_names_a_client_only(scene: Scene) -> None:
    folder = server_folder(scene.folder / "server", scene.ours)
    scene.ours.issue(folder, "client", ["localhost"])
    for kind in ("cert", "key"):
        (folder / f"client-{kind}.pem").rename(folder / f"server-{kind}.pem")
    scene.serve(handshake(scene.server(folder)))
    refused(scene, "its certificate is refused: .*purpose")


def test_only_tls_1_2(scene: Scene) -> None:
    context = scene.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    scene.serve(handshake(context))
    refused(scene, "it offers no TLS 1.3")


def test_a_plain_destination_that_closes(scene: Scene) -> None:
    """As QEMU without tls-creds does: a ClientHello is no migration stream."""
    scene.serve(lambda accepted: print(accepted.recv(1)))
    refused(scene, "it closed the connection during the handshake .*set tls-creds there, or leave --tls-dir")


def test_a_plain_destination_that_answers(scene: Scene) -> None:
    scene.serve(lambda accepted: accepted.sendall(b"220 mail.example ESMTP\r\n" * 10))
    refused(scene, "it does not speak TLS; set tls-creds there, or leave --tls-dir out")


def test_a_destination_that_is_silent(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_connection, "HANDSHAKE_S", 0.4)
    scene.serve(lambda accepted: time.sleep(1.5))
    refused(scene, "no answer within 0.4 s; does it expect TLS")


def test_a_handshake_can_be_given_up(scene: Scene) -> None:
    scene.serve(lambda accepted: time.sleep(1))
    tls = load_tls(client_folder(scene.folder / "client", scene.ours), scene.address)
    began_s = time.monotonic()
    with pytest.raises(LinkError, match="given up"):
        open_connection(scene.address, tls, lambda: time.monotonic() > began_s + 0.2)
    assert time.monotonic() - began_s < 0.8


def ends_with(connection: Connection) -> str:
    """Write and read until an error; return its words."""
    try:
        for _ in range(50):
            if connection.wait_writable(0.1):
                connection.write(deque([memoryview(bytes(4096))]))
            if connection.receive(0.05) == b"":
                return connection.hint()
    except OSError as error:
        return str(error.strerror)
    pytest.fail("it goes on")


def test_a_refusal_of_our_certificate_after_our_handshake(scene: Scene) -> None:
    """The server says why, in an alert."""
    server = server_folder(scene.folder / "server", Authority("theirs"), issuer=scene.ours)
    scene.serve(handshake(scene.server(server)))
    line = ends_with(scene.open())
    assert "it refused " in line
    assert "client/client-cert.pem (tlsv1 alert unknown ca)" in line


def test_a_refusal_without_a_word(scene: Scene) -> None:
    """As QEMU's: it closes."""

    def serve(accepted: socket.socket) -> None:
        context = scene.server()
        context.verify_mode = ssl.CERT_NONE
        context.num_tickets = 0
        encrypted = context.wrap_socket(accepted, server_side=True)
        encrypted.close()

    scene.serve(serve)
    line = ends_with(scene.open())
    assert ", without an answer: it may have refused " in line
    assert "client/client-cert.pem; see its log" in line


def test_one_that_expects_tls_is_named_when_we_speak_plainly(scene: Scene) -> None:
    """Without its monitor only this tells: no answer, or a TLS alert."""
    scene.serve(handshake(scene.server()))
    connection = open_connection(scene.address)
    scene.opened.append(connection)
    line = ends_with(connection)
    assert "give --tls-dir" in line
    assert "tls-creds" in line


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
