"""Quantities and addresses as operators write them: a value in bounds, or one UsageError."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from pagethrift.address import parse_address
from pagethrift.errors import UsageError
from pagethrift.strategies.table import parse_parameters
from pagethrift.units import (
    format_bandwidth,
    format_bytes,
    format_seconds,
    parse_bandwidth,
    parse_seconds,
    parse_size,
)
from tests.fuzz.target import Target, check_line


def fuzz_one(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for check in (_address, _bandwidth, _size, _seconds, _parameters):
        _or_usage_error(check, text)


def _or_usage_error(check: Callable[[str], None], text: str) -> None:
    try:
        check(text)
    except UsageError as error:
        check_line(error)


def _address(text: str) -> None:
    address = parse_address(text)
    assert address.path or 0 <= address.port <= 65535
    assert parse_address(str(address)) == address, f"{address} does not come back"
    assert address.qemu_uri


def _bandwidth(text: str) -> None:
    value = parse_bandwidth(text)
    assert value > 0
    assert format_bandwidth(value)


def _size(text: str) -> None:
    value = parse_size(text)
    assert value > 0
    assert format_bytes(value)


def _seconds(text: str) -> None:
    value = parse_seconds(text)
    assert math.isfinite(value)
    assert value >= 0
    assert format_seconds(value)


def _parameters(text: str) -> None:
    assert all(isinstance(value, float) for value in parse_parameters(text.split(",")).values())


def seeds() -> Iterator[bytes]:
    for text in (
        "unix:/run/a.sock", "host:4444", "[fe80::1%eth0]:1", "fe80::1", "tcp:h:1", "tcp://h:1", "h:65536",
        "h: 1", "unix:", "[::1]:0", "a..b:1", "100Mbit", "1Gbit/s", "12.5MB/s", "1MiB", "1Mbps", "0", "4096",
        "512MiB", "1G", "300ms", "2s", "1.5", "2min", "1h", "0." + "0" * 400 + "1", "a=1,b=2.5", "a=inf",
    ):  # fmt: skip
        yield text.encode()
    yield b"h\0:1"
    yield b"unix:\xff\n"


TARGET = Target(fuzz_one, seeds, most_bytes=500)
