"""What a relay's process and its driver say to each other: JSON objects, one a line, data only.

To the relay, on its standard input: ``{"round": 3}``, ``{"go": true}`` or ``{"status": true}``.
From the relay, on its standard output: ``{"type": "status", ...}`` about ten times a second, at each
change of state and when asked; as its last word ``{"type": "end", "error": ...}``. What it writes to
standard error is for people. What the relay is to do comes as its arguments (`pagethrift relay --help`),
so that a person can start it as the driver does.

Both ends read alike: a line has at most LINE_MAX_BYTES, a field that is not known is ignored, and a line
that is no message raises one error and changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, NoReturn, TypeAlias, assert_never

from pagethrift.errors import LinkError, UsageError
from pagethrift.model.error_data import ErrorData
from pagethrift.model.result import PageCounters

PROTOCOL_VERSION = 1
"""in every line from the relay; raised when a field is removed, renamed or given another meaning"""

LINE_MAX_BYTES = 32 << 10
"""the longest line that is read; those written here have less than 26 KiB, mostly less than 1 KiB"""

TEXT_MAX = 500
"""characters of an error or a warning that are written"""

ROUND_MAX = (1 << 31) - 1
"""a held QEMU with nothing to send begins thousands of rounds a second: five days of them"""

COUNT_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class BeginRound:
    """QEMU has begun a round."""

    number: int
    """0 is the first pass"""


@dataclass(frozen=True, slots=True)
class Go:
    """The switchover is decided: hold nothing back any more."""


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Say at once how far you are."""


RelayCommand: TypeAlias = BeginRound | Go | AskStatus


class RelayState(StrEnum):
    """Where a relay is in the life of one migration."""

    LISTENING = "listening"
    """kernels compiled, waiting for QEMU's connection"""
    RAM = "ram"
    """between QEMU's first byte and the end of RAM's last section"""
    TAIL = "tail"
    """device state passes through untouched"""
    PIPE = "pipe"
    """something was not understood before the first rewritten byte: bytes are copied untouched"""
    DONE = "done"
    """both sides closed after the whole stream was forwarded"""
    FAILED = "failed"
    """both sockets are closed, the source guest keeps running; the end says why"""


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """Counters since the start; bytes are bytes, times are seconds."""

    state: RelayState = RelayState.LISTENING
    now_s: float = 0.0
    """CLOCK_MONOTONIC of the machine at the time of the counters"""
    in_bytes: int = 0
    """read from QEMU"""
    out_bytes: int = 0
    """handed to the link's socket"""
    unsent_bytes: int = 0
    """made by the relay but not yet on the link: its queue and the socket's unsent part"""
    link_bps: float = 0.0
    """bytes per second the link has accepted lately, 0 while unknown"""
    pages_in: int = 0
    """page records read"""
    pages: PageCounters = field(default_factory=PageCounters)
    """by what became of them"""
    held_pages: int = 0
    """in the hold buffer now"""
    held_bytes: int = 0
    """what forwarding the held pages now would put on the link"""
    first_round_bytes: int = 0
    """RAM bytes out for pages forwarded for the first time"""
    retransferred_bytes: int = 0
    """RAM bytes out for pages forwarded again"""
    retransferred_pages: int = 0
    """page records that arrived again (skipped ones count)"""
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    refused: int = 0
    """connections that were closed because they cannot belong to this migration"""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class RelayEnd:
    """The relay's last word: its sockets are closed and its process ends."""

    error: ErrorData | None = None
    """None: the whole stream was forwarded"""


@dataclass(frozen=True, slots=True)
class OtherProtocol:
    """A line of a relay that speaks another version: nothing else of it can be trusted."""

    version: int


RelayMessage: TypeAlias = RelayStatus | RelayEnd | OtherProtocol


def encode_command(command: RelayCommand) -> bytes:
    """Return a command as a line."""
    match command:
        case BeginRound(number):
            return _line({"round": number})
        case Go():
            return _line({"go": True})
        case AskStatus():
            return _line({"status": True})
        case _:
            assert_never(command)


def decode_command(line: bytes) -> RelayCommand:
    """Read a line, with or without its end. Raises UsageError when it is no command."""
    try:
        data = _object(line)
        match sorted(data.keys() & {"round", "go", "status"}):
            case ["round"]:
                return BeginRound(_whole(data, "round", ROUND_MAX))
            case ["go"] if data["go"] is True:
                return Go()
            case ["status"] if data["status"] is True:
                return AskStatus()
            case _:
                raise _NoMessage('it has neither "round" with a number nor "go" or "status" with true')
    except _NoMessage as error:
        raise UsageError(f"ignored command {_shown(line)}: {error}") from error


def encode_message(message: RelayStatus | RelayEnd) -> bytes:
    """Return a message of the relay as a line; long texts are cut."""
    match message:
        case RelayStatus():
            kind = "status"
        case RelayEnd():
            kind = "end"
        case _:
            assert_never(message)
    return _line({"type": kind, "protocol": PROTOCOL_VERSION, **_cut(asdict(message))})


def decode_message(line: bytes) -> RelayMessage:
    """Read a line, with or without its end. Raises LinkError when it is no message of a relay."""
    try:
        data = _object(line)
        version = _whole(data, "protocol", COUNT_MAX)
        if version != PROTOCOL_VERSION:
            return OtherProtocol(version)
        match data.get("type"):
            case "status":
                return _status(data)
            case "end":
                return RelayEnd(_error(data.get("error")))
            case _:
                raise _NoMessage('its "type" is neither "status" nor "end"')
    except _NoMessage as error:
        raise LinkError(f"the relay said {_shown(line)}: {error}") from error


class _NoMessage(Exception):
    """Why a line is refused."""


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _cut(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _cut(value) for key, value in data.items()}
    return data[:TEXT_MAX] if isinstance(data, str) else data


def _shown(line: bytes) -> str:
    return repr(line[:60]) + "..." * (len(line) > 60)


def _object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line, whatever the line is."""
    if len(line) > LINE_MAX_BYTES:
        raise _NoMessage(f"longer than {LINE_MAX_BYTES} bytes")
    try:
        data = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also wrong UTF-8, too many digits, deep nesting
        raise _NoMessage("it is not JSON that can be read") from error
    if not isinstance(data, dict):
        raise _NoMessage("it is no JSON object")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole(data: Mapping[str, Any], key: str, most: int, least: int = 0) -> int:
    value = data.get(key)
    if type(value) is not int or not least <= value <= most:  # True is an int for isinstance
        raise _NoMessage(f'"{key}" is no whole number from {least} to {most}')
    return value


def _number(data: Mapping[str, Any], key: str, most: int) -> float:
    value = data.get(key)
    if type(value) is float and math.isfinite(value) and value >= 0:
        return value
    return float(_whole(data, key, most))


def _text(data: Mapping[str, Any], key: str, most: int) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _NoMessage(f'"{key}" is no text')
    return value[:most]


def _pages(data: Mapping[str, Any], key: str, most: int) -> PageCounters:
    counts = data.get(key)
    if not isinstance(counts, dict):
        raise _NoMessage(f'"{key}" is no JSON object')
    known = [count.name for count in fields(PageCounters) if count.name in counts]
    return PageCounters(**{name: _whole(counts, name, most) for name in known})


_READERS: Mapping[str, tuple[Callable[[Mapping[str, Any], str, int], Any], int]] = {
    "int": (_whole, COUNT_MAX),
    "float": (_number, COUNT_MAX),
    "str": (_text, TEXT_MAX),
    "PageCounters": (_pages, COUNT_MAX),
}
"""by a field's annotation, as written"""


def _status(data: Mapping[str, Any]) -> RelayStatus:
    values: dict[str, Any] = {}
    for known in fields(RelayStatus):
        if known.name == "state":
            values["state"] = _state(data.get("state"))
        elif known.name in data:
            read, most = _READERS[str(known.type)]
            values[known.name] = read(data, known.name, most)
    return RelayStatus(**values)


def _state(value: object) -> RelayState:
    try:
        return RelayState(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise _NoMessage('its "state" is none that is known') from error


def _error(data: object) -> ErrorData | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise _NoMessage('"error" is no JSON object')
    offset = None if data.get("offset") is None else _whole(data, "offset", COUNT_MAX, -COUNT_MAX)
    more = {key: _text(data, key, TEXT_MAX) for key in ("expected", "got") if key in data}
    return ErrorData(_text(data, "kind", TEXT_MAX), _text(data, "message", TEXT_MAX), offset, **more)
