"""The messages between a relay's process and its driver: JSON objects, one a line, data only.

To the relay, on its standard input: ``{"round": 3}``, ``{"go": true}`` or ``{"status": true}``.
From the relay, on its standard output: ``{"type": "status", ...}`` about ten times a second, at each
change of state and when asked; ``{"type": "end", "error": ...}`` as its last message. Its standard error
is for people. The relay's task comes as arguments (`pagethrift relay --help`), so that a person can start
it as the driver does.

Both ends read by the same rules: a line has at most LINE_MAX_BYTES, an unknown field is ignored, and a
line that is not a message raises one error and changes nothing.
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
"""in every line from the relay; goes up when a field is removed, renamed or given another meaning"""

LINE_MAX_BYTES = 32 << 10
"""the longest line that is read; lines written here stay below 26 KiB, mostly below 1 KiB"""

TEXT_MAX = 500
"""how many characters of an error or a warning are written"""

ROUND_MAX = (1 << 31) - 1
"""enough for five days: a held QEMU with nothing to send begins thousands of rounds a second"""

COUNT_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class BeginRound:
    """QEMU has begun a round."""

    number: int
    """0 is the first pass"""


@dataclass(frozen=True, slots=True)
class Go:
    """The switchover is decided: the relay holds nothing back any more."""


@dataclass(frozen=True, slots=True)
class AskStatus:
    """A request for a status now."""


RelayCommand: TypeAlias = BeginRound | Go | AskStatus


class RelayState(StrEnum):
    """The stages of a relay in one migration."""

    LISTENING = "listening"
    """kernels compiled, waiting for QEMU's connection"""
    RAM = "ram"
    """between QEMU's first byte and the end of RAM's last section"""
    TAIL = "tail"
    """device state passes through untouched"""
    PIPE = "pipe"
    """the stream was not understood before the first rewritten byte: bytes are copied untouched"""
    DONE = "done"
    """the whole stream was forwarded, and both sides have closed"""
    FAILED = "failed"
    """both sockets are closed, the source guest keeps running; RelayEnd says why"""


class Handing:
    """A service's relay has no listener: connections come over a socket pair, one with each message.

    A relay that shuts its end wants nobody any more. Before it chooses the source's channels it asks for
    whoever has connected to the service so far, and the service answers behind the last of them.
    """

    CONNECTION = b"+"
    """from the service, with a descriptor"""
    WHO_ELSE = b"?"
    """from the relay"""
    NOBODY_ELSE = b"."
    """the service's answer"""


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
    """made by the relay but not yet on the link: its queue and the socket's unsent bytes"""
    link_bps: float = 0.0
    """bytes per second the link has accepted lately, 0 while unknown"""
    compressor_pages_per_s: float = 0.0
    """how many pages the channels can compress, where no page may go plain; else 0"""
    pages_in: int = 0
    """page records read"""
    pages: PageCounters = field(default_factory=PageCounters)
    """page records by method"""
    held_pages: int = 0
    """in the hold buffer now"""
    held_bytes: int = 0
    """bytes on the link if the held pages were forwarded now"""
    first_round_bytes: int = 0
    """RAM bytes sent for pages that were forwarded for the first time"""
    retransferred_bytes: int = 0
    """RAM bytes sent for pages that were forwarded again"""
    waiting_again_bytes: int = 0
    """estimated RAM bytes of pages forwarded again that wait to be compressed, and count from then on"""
    retransferred_pages: int = 0
    """page records that arrived after a page's first, skipped ones included"""
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    refused: int = 0
    """connections that were closed because they cannot belong to this migration"""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class RelayEnd:
    """The relay's last message: its sockets are closed and its process ends."""

    error: ErrorData | None = None
    """None: the whole stream was forwarded"""


@dataclass(frozen=True, slots=True)
class OtherProtocol:
    """A line from a relay that speaks another version; nothing else in the line can be trusted."""

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
    """Read a line, with or without its end. Raises UsageError when it is not a command."""
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
    """Read a line, with or without its end. Raises LinkError when it is not a message of a relay."""
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
    """Return the JSON object in a line. Raises _NoMessage for any other line."""
    if len(line) > LINE_MAX_BYTES:
        raise _NoMessage(f"longer than {LINE_MAX_BYTES} bytes")
    try:
        data = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also wrong UTF-8, too many digits, deep nesting
        raise _NoMessage("it is not readable JSON") from error
    if not isinstance(data, dict):
        raise _NoMessage("it is not a JSON object")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole(data: Mapping[str, Any], key: str, most: int, least: int = 0) -> int:
    value = data.get(key)
    if type(value) is not int or not least <= value <= most:  # True is an int for isinstance
        raise _NoMessage(f'"{key}" is not a whole number from {least} to {most}')
    return value


def _number(data: Mapping[str, Any], key: str, most: int) -> float:
    value = data.get(key)
    if type(value) is float and math.isfinite(value) and value >= 0:
        return value
    return float(_whole(data, key, most))


def _text(data: Mapping[str, Any], key: str, most: int) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _NoMessage(f'"{key}" is not text')
    return value[:most]


def _pages(data: Mapping[str, Any], key: str, most: int) -> PageCounters:
    counts = data.get(key)
    if not isinstance(counts, dict):
        raise _NoMessage(f'"{key}" is not a JSON object')
    known = [count.name for count in fields(PageCounters) if count.name in counts]
    return PageCounters(**{name: _whole(counts, name, most) for name in known})


_READERS: Mapping[str, tuple[Callable[[Mapping[str, Any], str, int], Any], int]] = {
    "int": (_whole, COUNT_MAX),
    "float": (_number, COUNT_MAX),
    "str": (_text, TEXT_MAX),
    "PageCounters": (_pages, COUNT_MAX),
}
"""the check of a field, by its annotation as written"""


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
        raise _NoMessage('its "state" is unknown') from error


def _error(data: object) -> ErrorData | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise _NoMessage('"error" is not a JSON object')
    offset = None if data.get("offset") is None else _whole(data, "offset", COUNT_MAX, -COUNT_MAX)
    more = {key: _text(data, key, TEXT_MAX) for key in ("expected", "got") if key in data}
    return ErrorData(_text(data, "kind", TEXT_MAX), _text(data, "message", TEXT_MAX), offset, **more)
