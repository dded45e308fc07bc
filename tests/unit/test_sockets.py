"""Opening and closing sockets: nobody else is disturbed, and errors say what to do."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.address import Address, parse_address
from pagethrift.errors import LinkError
from pagethrift.sockets import accepted, close_both_ways, connect, end_on_close, listen


def test_bytes_pass_over_tcp_and_over_unix_sockets(folder: Path) -> None:
    for wanted in (Address(host="127.0.0.1"), Address(path=str(folder / "s"))):
        with listen(wanted) as listener:
            bound = Address(host="127.0.0.1", port=listener.getsockname()[1]) if wanted.host else wanted
            with connect(bound) as near, listener.accept()[0] as far:
                near.sendall(b"there")
                assert far.recv(5) == b"there"
                assert near.gettimeout() is None
                if wanted.host:
                    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def link_local() -> list[str]:
    """Return addresses of this machine that mean nothing without their interface."""
    rows = (line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines())
    return [f"{ipaddress.IPv6Address(bytes.fromhex(row[0]))}%{row[5]}" for row in rows if row[3] == "20"]


def test_an_ipv6_address_keeps_its_zone() -> None:
    addresses = link_local()
    if not addresses:
        pytest.skip("no link-local IPv6 address here")
    with listen(parse_address(f"[{addresses[0]}]:0", listening=True)) as listener:
        _, port, _, zone = listener.getsockname()
        assert zone == socket.if_nametoindex(addresses[0].partition("%")[2])
        with connect(Address(host=addresses[0], port=port)) as near, listener.accept()[0] as far:
            near.sendall(b"there")
            assert far.recv(5) == b"there"


def test_a_zone_that_is_not_there_is_said() -> None:
    with pytest.raises(LinkError, match=r"cannot listen on \[fe80::1%nosuch0\]:0"):
        listen(parse_address("[fe80::1%nosuch0]:0", listening=True))


@contextlib.contextmanager
def full_listener(address: Address) -> Iterator[Address]:
    """Listen where a further connection has to wait: the queue is full and nobody accepts."""
    waiting = []
    with listen(address, 0) as listener:
        if address.host:
            address = Address(host=address.host, port=listener.getsockname()[1])
        for _ in range(3):
            one = socket.socket(listener.family)
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        yield address
    for one in waiting:
        one.close()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_connecting_ends_in_time_and_when_it_is_given_up(kind: str, folder: Path) -> None:
    wanted = Address(host="127.0.0.1") if kind == "tcp" else Address(path=str(folder / "s"))
    with full_listener(wanted) as address:
        began_s = time.monotonic()
        with pytest.raises(LinkError, match="timed out; is the destination listening"):
            connect(address, timeout_s=0.3)
        asked = iter([False, False, True])
        with pytest.raises(LinkError, match="given up"):
            connect(address, timeout_s=60, given_up=lambda: next(asked))
        assert time.monotonic() - began_s < 10


def test_a_refused_connection_says_so(folder: Path) -> None:
    with listen(Address(host="127.0.0.1")) as listener:
        port = listener.getsockname()[1]
    for address in (Address(host="127.0.0.1", port=port), Address(path=str(folder / "gone"))):
        with pytest.raises(LinkError, match=r"refused|No such file"):
            connect(address)


def test_listening_on_a_live_socket_disturbs_nobody(folder: Path) -> None:
    """A connection made to see whether somebody listens is, for a waiting relay, the source; for a
    working one a second QEMU socket, which ends its migration. (A datagram socket can ask without
    connecting: EPROTOTYPE means alive, ECONNREFUSED dead.)
    """
    address = Address(path=str(folder / "near"))
    with listen(address) as first:
        first.setblocking(False)
        with pytest.raises(LinkError, match="cannot listen"):
            listen(address)
        with pytest.raises(BlockingIOError):
            first.accept()


def test_a_socket_left_behind_is_replaced(folder: Path) -> None:
    address = Address(path=str(folder / "near"))
    listen(address).close()
    with listen(address) as second:
        assert second.fileno() >= 0


def test_a_file_is_not_taken_for_a_dead_socket(folder: Path) -> None:
    path = folder / "notes"
    path.write_text("kept")
    with pytest.raises(LinkError, match=r"cannot listen on .*choose another address"):
        listen(Address(path=str(path)))
    assert path.read_text() == "kept"


def test_the_file_is_removed_only_while_it_is_the_listeners_own(folder: Path) -> None:
    path = folder / "near"
    first = listen(Address(path=str(path)))
    path.unlink()
    with listen(Address(path=str(path))) as second:
        first.remove_file()
        first.close()
        assert path.is_socket()
        second.remove_file()
        assert not path.exists()
        second.remove_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts in other users' folders")
def test_root_follows_no_link_that_replaced_its_folder(folder: Path) -> None:
    """The folder's owner swaps it between listening and the end: root's unlink must not go elsewhere."""
    shown, real, other = folder / "shown", folder / "real", folder / "other"
    for each in (shown, other):
        each.mkdir()
    (other / "near").write_text("root's")
    listener = listen(Address(path=str(shown / "near")))
    shown.rename(real)
    shown.symlink_to(other)
    assert (real / "near").is_socket()
    listener.remove_file()
    listener.close()
    assert not (real / "near").exists()
    assert (other / "near").read_text() == "root's"


def test_a_link_in_the_sockets_place_is_not_followed(folder: Path) -> None:
    """Neither to ask whether somebody listens, nor to bind, nor to remove."""
    listen(Address(path=str(folder / "dead"))).close()
    (folder / "near").symlink_to(folder / "dead")
    with pytest.raises(LinkError, match="cannot listen"):
        listen(Address(path=str(folder / "near")))
    assert (folder / "dead").is_socket()
    assert (folder / "near").is_symlink()


def test_nobody_listens(folder: Path) -> None:
    with socket.socket() as bound:  # a port that is taken and not listened on
        bound.bind(("127.0.0.1", 0))
        taken = Address(host="127.0.0.1", port=bound.getsockname()[1])
        for address in (Address(path=str(folder / "none")), taken):
            with pytest.raises(LinkError, match=r"cannot connect to .*is the destination listening\?"):
                connect(address)


def test_closing_wakes_a_thread_that_receives() -> None:
    near, far = socket.socketpair()
    near.settimeout(10)
    heard: list[bytes] = []

    def receive() -> None:
        with contextlib.suppress(OSError):  # closed before it came to receive
            heard.append(near.recv(1))

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    time.sleep(0.1)
    close_both_ways(near)
    receiver.join(5)
    assert not receiver.is_alive()
    assert heard in ([b""], [])
    assert far.recv(1) == b""
    close_both_ways(far)
    close_both_ways(None)


@pytest.mark.parametrize("in_order", [False, True])
def test_who_is_left_by_a_relay_sees_it(in_order: bool) -> None:
    """A connection that was read to its last byte is reset, unless all was said."""
    with listen(Address(host="127.0.0.1", port=0)) as listener:
        sender = socket.create_connection(listener.getsockname(), 5)
        connection = accepted(listener)
    assert isinstance(connection, socket.socket)
    sender.sendall(b"all")
    assert connection.recv(3) == b"all"
    if in_order:
        end_on_close(connection)
    connection.close()
    with sender:
        if in_order:
            assert sender.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                sender.recv(1)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_holds_little_between_a_sender_of_this_host_and_us(host: str) -> None:
    """A reader slower than the sender: what was sent and not yet read, once both have run a while."""
    listener = listen(Address(host=host, port=0))
    with listener, socket.create_connection(listener.getsockname()[:2]) as sender:
        connection = accepted(listener)
        assert isinstance(connection, socket.socket)
        with connection:
            sender.setblocking(False)
            sent = read = 0
            for _ in range(400):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sent += sender.send(bytes(1 << 16))
                read += len(connection.recv(50_000))
            # Linux alone: 4 to 5 MB, on some machines more
            assert 0 < sent - read < 2_500_000
