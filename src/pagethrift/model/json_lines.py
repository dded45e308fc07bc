"""Messages as JSON objects, one a line: the rules by which every process of ours reads another's.

A line has at most LINE_MAX_BYTES, an unknown field is ignored, and whatever is not a message raises
NotAMessage, which the protocol that reads it turns into an error of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NoReturn

from pagethrift.model.result import PageCounters

LINE_MAX_BYTES = 32 << 10
"""the longest line that is read; lines written here stay below 26 KiB, mostly below 1 KiB"""

TEXT_MAX = 500
"""how many characters of a text are written, and read"""

COUNT_MAX = (1 << 63) - 1


class NotAMessage(Exception):
    """Why a line is refused."""


def line_of(data: Mapping[str, Any]) -> bytes:
    """Return an object as a line; long texts are cut."""
    return json.dumps(_cut(data), separators=(",", ":")).encode() + b"\n"


def shown(line: bytes) -> str:
    """Return the beginning of a line for an error."""
    return repr(line[:60]) + "..." * (len(line) > 60)


def object_in(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line. Raises NotAMessage for any other line."""
    if len(line) > LINE_MAX_BYTES:
        raise NotAMessage(f"longer than {LINE_MAX_BYTES} bytes")
    try:
        data = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also wrong UTF-8, too many digits, deep nesting
        raise NotAMessage("it is not readable JSON") from error
    if not isinstance(data, dict):
        raise NotAMessage("it is not a JSON object")
    return data


def whole(data: Mapping[str, Any], key: str, most: int, least: int = 0) -> int:
    """Return a whole number within limits. Raises NotAMessage."""
    value = data.get(key)
    if type(value) is not int or not least <= value <= most:  # True is an int for isinstance
        raise NotAMessage(f'"{key}" is not a whole number from {least} to {most}')
    return value


def number(data: Mapping[str, Any], key: str, most: int) -> float:
    """Return a finite number that is not negative. Raises NotAMessage."""
    value = data.get(key)
    if type(value) is float and math.isfinite(value) and value >= 0:
        return value
    return float(whole(data, key, most))


def text(data: Mapping[str, Any], key: str, most: int) -> str:
    """Return a text, cut at ``most`` characters. Raises NotAMessage."""
    value = data.get(key)
    if not isinstance(value, str):
        raise NotAMessage(f'"{key}" is not text')
    return value[:most]


def known_fields(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that are in ``data``, each checked by its annotation as written.

    Fields of other types are left to the caller. Raises NotAMessage.
    """
    values: dict[str, Any] = {}
    for known in fields(kind):
        if known.name in data and str(known.type) in _READERS:
            read, most = _READERS[str(known.type)]
            values[known.name] = read(data, known.name, most)
    return values


def _cut(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _cut(value) for key, value in data.items()}
    return data[:TEXT_MAX] if isinstance(data, str) else data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number_or_none(data: Mapping[str, Any], key: str, most: int) -> float | None:
    return None if data[key] is None else number(data, key, most)


def _flag(data: Mapping[str, Any], key: str, most: int) -> bool:
    value = data[key]
    if type(value) is not bool:
        raise NotAMessage(f'"{key}" is neither true nor false')
    return value


def _pages(data: Mapping[str, Any], key: str, most: int) -> PageCounters:
    counts = data.get(key)
    if not isinstance(counts, dict):
        raise NotAMessage(f'"{key}" is not a JSON object')
    known = [count.name for count in fields(PageCounters) if count.name in counts]
    return PageCounters(**{name: whole(counts, name, most) for name in known})


_READERS: Mapping[str, tuple[Callable[[Mapping[str, Any], str, int], Any], int]] = {
    "int": (whole, COUNT_MAX),
    "float": (number, COUNT_MAX),
    "float | None": (_number_or_none, COUNT_MAX),
    "bool": (_flag, 0),
    "str": (text, TEXT_MAX),
    "PageCounters": (_pages, COUNT_MAX),
}
"""the check of a field, by its annotation as written"""
