"""Addresses as operators write them, and as QEMU takes them."""

from __future__ import annotations

import pytest

from pagethrift.address import Address, parse_address
from pagethrift.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address", "uri"),
    [
        ("unix:/run/vm1.relay", Address(path="/run/vm1.relay"), "unix:/run/vm1.relay"),
        ("host2:4444", Address(host="host2", port=4444), "tcp:host2:4444"),
        ("tcp:10.0.0.2:1", Address(host="10.0.0.2", port=1), "tcp:10.0.0.2:1"),
        ("[fe80::1]:65535", Address(host="fe80::1", port=65535), "tcp:[fe80::1]:65535"),
        (":4444", Address(port=4444), "tcp::4444"),
    ],
)
def test_there_and_back(text: str, address: Address, uri: str) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address
    assert address.qemu_uri == uri


@pytest.mark.parametrize("text", ["", "host2", "host2:", "host2:x", "host2:-1", "host2:65536", "exec:cat"])
def test_what_is_no_address_is_told_how_one_is_written(text: str) -> None:
    with pytest.raises(UsageError, match="write unix:PATH or HOST:PORT"):
        parse_address(text)


def test_a_unix_path_fits_the_kernels_107_bytes() -> None:
    assert parse_address("unix:/" + "x" * 106).path
    for path in ("", "/" + "x" * 107, "/" + "ä" * 54):
        with pytest.raises(UsageError, match="1 to 107 bytes"):
            parse_address(f"unix:{path}")
