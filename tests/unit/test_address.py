"""Addresses as operators write them, and as QEMU takes them."""

from __future__ import annotations

import pytest

from pagethrift.address import Address, parse_address, parse_qmp_path
from pagethrift.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address", "uri"),
    [
        ("unix:/run/vm1.relay", Address(path="/run/vm1.relay"), "unix:/run/vm1.relay"),
        ("host2:4444", Address(host="host2", port=4444), "tcp:host2:4444"),
        ("tcp:10.0.0.2:1", Address(host="10.0.0.2", port=1), "tcp:10.0.0.2:1"),
        ("[fe80::1]:65535", Address(host="fe80::1", port=65535), "tcp:[fe80::1]:65535"),
        ("[fe80::1%eth0]:4444", Address(host="fe80::1%eth0", port=4444), "tcp:[fe80::1%eth0]:4444"),
        ("dst.example.:4444", Address(host="dst.example.", port=4444), "tcp:dst.example.:4444"),
        ("vm_host-2:1", Address(host="vm_host-2", port=1), "tcp:vm_host-2:1"),
        ("bücher.example:1", Address(host="xn--bcher-kva.example", port=1), "tcp:xn--bcher-kva.example:1"),
    ],
)
def test_there_and_back(text: str, address: Address, uri: str) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address
    assert address.qemu_uri == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host2",
        "host2:",
        "host2:x",
        "host2:-1",
        "host2:123456",
        "exec:cat",
        "fe80::1",
        "::1:4444",
        "tcp://h:1",
        "h:²",
        "h:1 ",
        "h: 1",
        "h:1\n",
    ],
)
def test_what_is_no_address_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(UsageError, match="write unix:PATH or HOST:PORT"):
        parse_address(text)


def test_a_unix_path_fits_the_kernels_107_bytes() -> None:
    assert parse_address("unix:/" + "x" * 106).path
    for path in ("", "/" + "x" * 107, "/" + "ä" * 54):
        with pytest.raises(UsageError, match="1 to 107 bytes"):
            parse_address(f"unix:{path}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("h:0", "a port is a number from 1 to 65535"),
        ("h:65536", "a port is a number from 1 to 65535"),
        (":4444", "'' is not a host name"),
        ("tcp://h:1", "write unix:PATH or HOST:PORT"),
        ("fe80::1", "in brackets"),
        ("[fe80::1:4444", "in brackets"),
        ("[fe80::g]:1", "is not an IPv6 address"),
        ("[10.0.0.1]:1", "is not an IPv6 address"),
        ("[::1%]:1", "'' is not a zone"),
        ("[::1%a/b]:1", "is not a zone"),
        ("[::1%a%b]:1", "is not a zone"),
        ("a..b:1", "is not a host name"),
        (".:1", "is not a host name"),
        ("-a:1", "is not a host name"),
        ("a b:1", "is not a host name"),
        ("a,ipv4=off:1", "is not a host name"),
        ("a/b:1", "is not a host name"),
        ("a\0b:1", "is not a host name"),
        ("a\nb:1", "is not a host name"),
        ("\udcff:1", "is not a host name"),
        ("x" * 64 + ":1", "is not a host name"),
        ("x." * 127 + "x:1", "is not a host name"),
        ("10.0.0.256:1", "is not an IPv4 address"),
        ("10.1:1", "is not an IPv4 address"),
        ("unix:/a\0b", "NUL"),
        ("unix:/\ud800", "cannot be encoded"),
    ],
)
def test_what_could_not_be_connected_to_is_refused_before_anything_is_touched(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_only_who_listens_may_leave_host_and_port_open() -> None:
    assert parse_address(":4444", listening=True) == Address(port=4444)
    assert parse_address("127.0.0.1:0", listening=True) == Address(host="127.0.0.1")
    for text in ("a..b:0", "tcp://h:1", "h:65536"):
        with pytest.raises(UsageError):
            parse_address(text, listening=True)


@pytest.mark.parametrize(
    "text",
    [
        "tcp:h:5555",
        "h:5555",
        "10.0.0.2:5555",
        "[::1]:5555",
        "telnet:h:1,server",
        "tcp:h:5,server=on",
        "stdio",
        "vsock:3:4",
    ],
)
def test_a_qmp_socket_elsewhere_is_to_be_forwarded(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--qmp '.*ssh -L /run/vm\.qmp:/run/vm\.qmp HOST$"):
        parse_qmp_path(text, "--qmp")


def test_a_qmp_socket_is_a_path() -> None:
    for text in ("/run/vm1.qmp", "vm.qmp", "unix:/run/vm1.qmp", "/run/vm:1", "tcpdump.qmp"):
        assert parse_qmp_path(text, "--qmp") == text.removeprefix("unix:")
    with pytest.raises(UsageError, match=r"give the socket's path alone: /run/vm1\.qmp$"):
        parse_qmp_path("unix:/run/vm1.qmp,server=on,wait=off", "--qmp")
    for text in ("", "/" + "x" * 107, "/a\0b"):
        with pytest.raises(UsageError, match="a Unix socket path has"):
            parse_qmp_path(text, "--destination-qmp")
