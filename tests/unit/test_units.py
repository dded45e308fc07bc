"""Quantities as operators write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pagethrift.errors import UsageError
from pagethrift.units import (
    format_bandwidth,
    format_bytes,
    format_seconds,
    parse_bandwidth,
    parse_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [
        ("100Mbit", 12_500_000),
        ("1Gbit", 125_000_000),
        ("1Gbit/s", 125_000_000),
        ("2.5 gbit", 312_500_000),
        ("8bit", 1),
        ("1Mibit", 131_072),
        ("12.5MB/s", 12_500_000),
        ("100MBps", 100_000_000),
        ("1MiB", 1_048_576),
        ("1KiB/s", 1024),
        ("4096B", 4096),
        ("4096B/s", 4096),
        (" 10 kB ", 10_000),
    ],
)
def test_bandwidths(text: str, bytes_per_s: int) -> None:
    assert parse_bandwidth(text) == bytes_per_s


@pytest.mark.parametrize("text", ["100Mbps", "1Gbps", "100Mb/s"])
def test_megabits_are_not_read_as_megabytes(text: str) -> None:
    """Mbps is megabits wherever operators write it: reading it as bytes is wrong by a factor of 8."""
    bits = {"100Mbps": 100_000_000, "1Gbps": 1_000_000_000, "100Mb/s": 100_000_000}[text]
    try:
        found = parse_bandwidth(text)
    except UsageError:
        return
    assert found == bits // 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "1 furlong",
        "0",
        "0Mbit",
        "-5Mbit",
        "1e9",
        "7bit",
        "1M",
        "inf",
        "9" * 400 + "B",
        "99999999TB",
        "١Mbit",
    ],
)
def test_what_is_no_bandwidth(text: str) -> None:
    with pytest.raises(UsageError, match="bandwidth") as caught:
        parse_bandwidth(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 << 20),
        ("1G", 1 << 30),
        ("1GB", 1 << 30),
        ("4096B", 4096),
        ("1.5k", 1536),
        ("2T", 2 << 40),
    ],
)
def test_sizes_are_binary_as_qemu_reads_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.1B", "big", "1X", "-1G", "1 G G", "9" * 400 + "G", "99999999T"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("0", 0.0),
        ("0.0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "3 days",
        "0 days",
        "-1s",
        "1e9s",
        "inf",
        "nans",
        "٣s",
        "3²s",
        "9" * 400 + "s",
        "99999999999999h",
        "1s\n2s",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_700, "1 MB"), (306e6, "306 MB"), (2.5e9, "2.5 GB"),
     (1234e9, "1234 GB")],
)  # fmt: skip
def test_written_sizes(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.184, "184 ms"), (0.0, "0 ms"), (25.72, "25.7 s"), (1, "1.0 s")]
)
def test_written_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("bytes_per_s", "text"), [(12.5e6, "100 Mbit/s"), (125e6, "1 Gbit/s"), (100, "800 bit/s"), (0, "0 bit/s")]
)
def test_written_bandwidths(bytes_per_s: float, text: str) -> None:
    assert format_bandwidth(bytes_per_s) == text


@pytest.mark.parametrize("text", ["100 Mbit/s", "1 Gbit/s", "800 bit/s", "25 Gbit/s"])
def test_what_is_written_can_be_read(text: str) -> None:
    assert format_bandwidth(parse_bandwidth(text)) == text


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_seconds, "300", "300: give a unit: 300ms or 300s"),
        (parse_seconds, " 1.5 ", "1.5: give a unit: 1.5ms or 1.5s"),
        (parse_size, "4096", "4096: give a unit: 4096B or 4096MiB"),
        (parse_bandwidth, "100", "100: give a unit: 100Mbit or 100MB/s"),
    ],
)
def test_a_bare_number_is_asked_for_its_unit(parse: Callable[[str], float], text: str, says: str) -> None:
    """300 for a downtime limit was taken as seconds."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value) == says
