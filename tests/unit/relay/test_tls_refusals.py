"""Whom the relay refuses, and who refuses the relay: real TLS servers, and what answers without TLS."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.errors import LinkError
from pagethrift.relay import tls_connection
from pagethrift.relay.connecting import open_connection
from pagethrift.relay.connection import Connection
from pagethrift.tls import load_tls
from tests.certificates import Authority, client_folder, server_folder
from tests.unit.relay.tls_destination import Scene, echo, handshake, playing, receive, write_all


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with playing(tmp_path) as scene:
        yield scene


def refused(scene: Scene, says: str, folder: Path | None = None, hostname: str = "") -> None:
    with pytest.raises(LinkError, match=says) as caught:
        scene.open(folder, hostname)
    line = str(caught.value)
    assert line.startswith(f"TLS with {scene.address}: ")
    assert "\n" not in line
    assert "_ssl" not in line


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
