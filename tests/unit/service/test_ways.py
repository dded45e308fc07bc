"""Where connections come in and go: what operators write, and what the kernel says of a connection."""

from __future__ import annotations

import socket

import pytest

from pagethrift.address import Address
from pagethrift.errors import LinkError, UsageError
from pagethrift.service.ways import (
    Map,
    Pair,
    Redirect,
    close,
    leads_back,
    parse_map,
    parse_pair,
    parse_redirect,
)
from pagethrift.sockets import listen
from tests.services import free_port


def test_a_pair() -> None:
    pair = parse_pair("unix:/run/a.sock=host2:4444")
    assert pair == Pair(Address(path="/run/a.sock"), Address(host="host2", port=4444))
    assert parse_pair(":4444=[fd00::2]:49152").far == Address(host="fd00::2", port=49152)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host2:4444", "write LISTEN=CONNECT"),
        ("127.0.0.1:4444=127.0.0.1:4444", "leads back"),
        ("127.0.0.1:4444=", "is not an address"),
    ],
)
def test_what_is_no_pair(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_pair(text)


def test_a_map_of_networks() -> None:
    found = parse_map("127.77.0.0/16:49152-49215=10.0.0.0/16")
    assert (str(found.network), found.ports, str(found.real)) == (
        "127.77.0.0/16", range(49152, 49216), "10.0.0.0/16",
    )  # fmt: skip
    one = parse_map("127.77.0.5:4444=10.0.0.5")
    assert (one.network.num_addresses, one.ports) == (1, range(4444, 4445))
    six = parse_map("[fd77::/64]:49152-49153=[fd00::/64]")
    assert (str(six.network), str(six.real)) == ("fd77::/64", "fd00::/64")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("127.77.0.0/16=10.0.0.0/16", "write NETWORK:PORTS=NETWORK"),
        ("127.77.0.0/16:1-2", "write NETWORK:PORTS=NETWORK"),
        ("127.77.0.0/16:1-2=10.0.0.0/24", "the same length"),
        ("127.77.0.0/16:1-2=[fd00::/16]", "the same length"),
        ("127.77.0.5/16:1-2=10.0.0.0/16", "host bits set"),
        ("nowhere:1-2=10.0.0.0/16", "nowhere"),
        ("127.77.0.0/16:2-1=10.0.0.0/16", "ports are FIRST-LAST"),
        ("127.77.0.0/16:0-1=10.0.0.0/16", "ports are FIRST-LAST"),
        ("127.77.0.0/16:1-99999=10.0.0.0/16", "ports are FIRST-LAST"),
        ("127.77.0.0/16:1-2000=10.0.0.0/16", "at most 1024"),
        ("127.77.0.0/16:1-2=127.77.0.0/16", "leads back"),
        ("127.77.0.0/16:999999=127.77.0.0/16", "write NETWORK:PORTS=NETWORK"),
    ],
)
def test_what_is_no_map(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_map(text)


def test_a_redirect_is_to_a_port() -> None:
    assert parse_redirect("127.0.0.1:4400") == Redirect(Address(host="127.0.0.1", port=4400))
    with pytest.raises(UsageError, match="TCP port"):
        parse_redirect("unix:/run/a.sock")


def came_in(way: Map | Redirect, host: str, port: int) -> Address:
    """Return where a connection to an address of a way goes."""
    listeners = way.listen()
    try:
        (at,) = [each for each in listeners if each.getsockname()[1] == port]
        with socket.create_connection((host, port), 5), at.accept()[0] as connection:
            return way.destination(connection)
    finally:
        close(listeners)


def test_a_map_keeps_host_and_port() -> None:
    port = free_port()
    way = parse_map(f"127.77.0.0/16:{port}=10.9.0.0/16")
    assert came_in(way, "127.77.3.4", port) == Address(host="10.9.3.4", port=port)
    way = parse_map(f"127.77.0.5:{port}=10.9.0.7")
    assert came_in(way, "127.77.0.5", port) == Address(host="10.9.0.7", port=port)


def test_another_address_of_this_machine_is_not_of_the_map() -> None:
    port = free_port()
    with pytest.raises(LinkError, match=r"127\.0\.0\.1, which is not of 127\.77\.0\.0/16"):
        came_in(parse_map(f"127.77.0.0/16:{port}=10.9.0.0/16"), "127.0.0.1", port)


def test_a_map_of_one_address_takes_the_port_of_no_other() -> None:
    port = free_port("127.77.0.6")
    listeners = parse_map(f"127.77.0.5:{port}=10.9.0.7").listen()
    try:
        with socket.create_server(("127.77.0.6", port)):
            pass
    finally:
        close(listeners)


def test_a_busy_port_of_a_map_leaves_no_listener() -> None:
    busy = free_port()
    with socket.create_server(("127.0.0.1", busy)):
        with pytest.raises(LinkError, match="cannot listen on"):
            Map(parse_map("127.77.0.0/16:1=10.9.0.0/16").network, range(busy - 1, busy + 1),
                parse_map("127.77.0.0/16:1=10.9.0.0/16").real).listen()  # fmt: skip
        with socket.create_server(("127.77.0.1", busy - 1)):
            pass


def test_who_was_not_redirected_goes_nowhere() -> None:
    """Without a nat rule the kernel knows no destination, or names the listener itself."""
    with listen(Address(host="127.0.0.1")) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5), listener.accept()[0] as connection:
            found: Address | str
            try:
                found = Redirect(Address(host="127.0.0.1", port=port)).destination(connection)
            except LinkError as error:
                found = str(error)
        if isinstance(found, Address):
            assert leads_back(found, [listener])
        else:
            assert "not redirected" in found


def test_what_leads_back() -> None:
    with listen(Address(host="127.0.0.1")) as one, listen(Address()) as everywhere:
        port, open_port = one.getsockname()[1], everywhere.getsockname()[1]
        listeners = [one, everywhere]
        assert leads_back(Address(host="127.0.0.1", port=port), listeners)
        assert not leads_back(Address(host="127.0.0.2", port=port), listeners)
        assert leads_back(Address(host="127.0.0.2", port=open_port), listeners)
        assert not leads_back(Address(host="192.0.2.1", port=open_port), listeners)
        assert not leads_back(Address(host="127.0.0.1", port=1), listeners)
        assert not leads_back(Address(path="/run/a.sock"), listeners)
        assert not leads_back(Address(host="host2", port=open_port), listeners)
