"""Reading and writing quantities as operators do: 100Mbit, 1.5GiB, 300ms."""

from __future__ import annotations

import re

from pagethrift.errors import UsageError

_NUMBER = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z/]*)\s*")
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}
MOST_BYTES = 1 << 60
"""of a size, and of a bandwidth in a second: everything that counts bytes has 63 bits"""
MOST_SECONDS = 10 * 366 * 86400.0
"""ten years: what clocks and timers take everywhere"""


def parse_bandwidth(text: str) -> int:
    """Return bytes per second for ``100Mbit``, ``1Gbit``, ``12.5MB/s`` or ``1MiB``.

    Raises UsageError when the text is not a positive bandwidth with its unit.
    """
    number, unit = _split(text, "a bandwidth", "1Gbit or 100MB/s", "{0}Mbit or {0}MB/s")
    bits = unit.endswith("bps")  # Mbps is a network's megabit, not a disk's megabyte
    unit = unit.removesuffix("bps") + "bit" if bits else unit.removesuffix("/s").removesuffix("ps")
    if unit.lower().endswith("bit"):
        factor = _prefix(unit[:-3].lower()) / 8
    elif unit.endswith("B"):
        factor = _prefix(unit[:-1].lower())
    else:
        factor = 0.0
    value = int(number * factor)
    if not 0 < value <= MOST_BYTES:
        raise UsageError(f"{text!r} is not a bandwidth; write it as 1Gbit or 100MB/s")
    return value


def parse_size(text: str) -> int:
    """Return bytes for ``512MiB``, ``1G`` (binary, as QEMU reads it) or ``4096B``.

    Raises UsageError when the text is not a positive size with its unit.
    """
    number, unit = _split(text, "a size", "512MiB or 1GiB", "{0}B or {0}MiB")
    short = unit.lower().removesuffix("b").removesuffix("i")
    factor = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}.get(short, 0)
    value = int(number * factor)
    if not 0 < value <= MOST_BYTES:
        raise UsageError(f"{text!r} is not a size; write it as 512MiB or 1GiB")
    return value


def parse_seconds(text: str) -> float:
    """Return seconds for ``300ms``, ``2s``, ``2min`` or ``0``.

    Raises UsageError when the text is not a duration with its unit.
    """
    number, unit = _split(text, "a duration", "300ms or 2s", "{0}ms or {0}s")
    factor = _SECONDS.get(unit.lower() or "s")
    seconds = number * (factor or 0.0)
    if factor is None or seconds > MOST_SECONDS:
        raise UsageError(f"{text!r} is not a duration; write it as 300ms or 2s")
    return seconds


def format_bytes(count: float) -> str:
    """Return a decimal size with three significant digits: ``306 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


def format_seconds(seconds: float) -> str:
    """Return ``184 ms`` below one second, else ``25.7 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def format_bandwidth(bytes_per_s: float) -> str:
    """Return a link rate in bits: ``100 Mbit/s``."""
    bits = bytes_per_s * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if bits < 999.5 or unit == "Gbit/s":
            break
        bits /= 1000
    return f"{bits:.3g} {unit}"


def _split(text: str, what: str, examples: str, with_units: str) -> tuple[float, str]:
    """Return number and unit; only zero is the same in every unit. Raises UsageError."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not {what}; write it as {examples}")
    number, unit = float(match[1]), match[2]
    if number and not unit:
        raise UsageError(f"{text.strip()}: give a unit: {with_units.format(text.strip())}")
    return number, unit


def _prefix(prefix: str) -> float:
    return _DECIMAL.get(prefix, 0) or _BINARY.get(prefix, 0)
