"""The forwarder: bytes unchanged, none early, no more under way than the window."""

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pagethrift.address import Address
from pagethrift.lab.link.delay import serve, window_bytes
from pagethrift.sockets import connect

KIB = 1024


class Way:
    """A listener, a forwarder in front of it, and one connection through both."""

    def __init__(self, delay_s: float, window: int) -> None:
        self.far_listener = socket.create_server(("127.0.0.1", 0))
        self.listener = socket.create_server(("127.0.0.1", 0))
        to = Address(host="127.0.0.1", port=self.far_listener.getsockname()[1])
        threading.Thread(target=serve, args=(self.listener, to, delay_s, window), daemon=True).start()
        self.near = connect(Address(host="127.0.0.1", port=self.listener.getsockname()[1]))
        self.far, _ = self.far_listener.accept()
        for end in (self.near, self.far):
            end.settimeout(20)

    def close(self) -> None:
        for end in (self.near, self.far, self.listener, self.far_listener):
            end.close()


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    built = Way(*request.param)
    yield built
    built.close()


def send_all(end: socket.socket, data: bytes) -> None:
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)


def receive_all(end: socket.socket) -> bytes:
    parts = []
    while data := end.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("way", [(0.0, KIB), (0.002, 64 * KIB), (0.02, 1 << 22)], indirect=True)
def test_bytes_and_ends_come_through_both_ways(way: Way) -> None:
    there, back = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(500_000)
    received: list[bytes] = []
    sender = threading.Thread(target=send_all, args=(way.near, there))
    answer = threading.Thread(target=lambda: received.append(receive_all(way.near)))
    for thread in (sender, answer):
        thread.start()
    assert receive_all(way.far) == there
    # one direction has ended, the other still carries
    send_all(way.far, back)
    for thread in (sender, answer):
        thread.join(20)
    assert received == [back]


@pytest.mark.parametrize("way", [(0.2, 1 << 20)], indirect=True)
def test_no_byte_comes_early_in_either_direction(way: Way) -> None:
    for giver, taker in ((way.near, way.far), (way.far, way.near)):
        began_s = time.monotonic()
        giver.sendall(b"ping")
        assert taker.recv(4) == b"ping"
        assert time.monotonic() - began_s >= 0.2


@pytest.mark.parametrize("way", [(60.0, 256 * KIB)], indirect=True)
def test_a_sender_is_held_back_when_the_window_is_full(way: Way) -> None:
    way.near.settimeout(1.0)
    sent = 0
    with pytest.raises(TimeoutError):  # noqa: PT012 - blocks at some send
        while sent < 1 << 26:
            sent += way.near.send(bytes(64 * KIB))
    # the window, and what the kernel's two sockets on the way to it take
    assert 256 * KIB <= sent < 16 << 20


@pytest.mark.parametrize("way", [(0.05, 1 << 20)], indirect=True)
def test_a_dead_taker_ends_the_giver(way: Way) -> None:
    way.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    way.far.close()
    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):  # noqa: PT012 - fails at some send
        while True:
            way.near.sendall(bytes(64 * KIB))


def test_nobody_at_the_far_end_closes_the_connection(capsys: pytest.CaptureFixture[str]) -> None:
    gone = socket.create_server(("127.0.0.1", 0))
    to = Address(host="127.0.0.1", port=gone.getsockname()[1])
    gone.close()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener, to, 0.0, KIB), daemon=True).start()
    with connect(Address(host="127.0.0.1", port=listener.getsockname()[1])) as near:
        near.settimeout(20)
        assert near.recv(1) == b""
    listener.close()
    assert "cannot connect" in capsys.readouterr().err


def test_the_window_is_the_links_rate_times_its_delay_and_bounded() -> None:
    assert window_bytes(10_000_000, 0.1) == 1_200_000 + 65536
    assert window_bytes(None, 5.0) == 256 << 20
    assert window_bytes(1_000, 0.0) >= 65536


def test_a_busy_port_is_one_line_and_an_exit_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable, "-m", "pagethrift.lab.link.delay", "--listen", f"127.0.0.1:{port}",
                "--connect", "127.0.0.1:1", "--delay", "1ms", "--window", "1MiB",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
