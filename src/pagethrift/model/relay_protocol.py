"""The messages between a relay's process and its driver: JSON objects, one a line, data only.

To the relay, on its standard input: ``{"round": 3}``, ``{"go": true}``, ``{"status": true}`` or
``{"set": {"downtime_limit_s": 0.5, "bandwidth_bps": 12500000}}``.
From the relay, on its standard output: ``{"type": "status", ...}`` about ten times a second, at each
change of state and when asked; ``{"type": "end", "error": ...}`` as its last message. Its standard error
is for people. The relay's task comes as arguments (`pagethrift relay --help`), so that a person can start
it as the driver does.

Both ends read by the rules of json_lines.py: a line that is not a message raises one error and changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias, assert_never

from pagethrift.errors import LinkError, UsageError
from pagethrift.model.error_data import ErrorData
from pagethrift.model.json_lines import (
    COUNT_MAX,
    TEXT_MAX,
    NotAMessage,
    known_fields,
    line_of,
    number,
    object_in,
    shown,
    text,
    whole,
)
from pagethrift.model.result import PageCounters
from pagethrift.units import MOST_BYTES, MOST_SECONDS

PROTOCOL_VERSION = 1
"""in every line from the relay; goes up when a field is removed, renamed or given another meaning"""

ROUND_MAX = (1 << 31) - 1
"""enough for five days: a held QEMU with nothing to send begins thousands of rounds a second"""


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


@dataclass(frozen=True, slots=True)
class Change:
    """What an operator changes of a running migration; None: it stays as it is."""

    downtime_limit_s: float | None = None
    """the longest downtime accepted from now on"""
    bandwidth_bps: int | None = None
    """the most that may go on the link from now on, in bytes per second; 0: no limit"""
    go: bool = False
    """a migration that waits for it may switch over from now on; nothing to a relay"""


RelayCommand: TypeAlias = BeginRound | Go | AskStatus | Change


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
    page_bytes: PageCounters = field(default_factory=PageCounters)
    """RAM bytes sent, by the same methods"""
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
    round: int = 0
    """rounds begun so far, as far as the relay knows; 0 = the first pass"""
    downtime_limit_s: float = 0.0
    """that bounds what is held back"""
    bandwidth_cap_bps: float = 0.0
    """the most that goes on the link; 0: no limit"""
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
        case BeginRound(begun):
            return line_of({"round": begun})
        case Go():
            return line_of({"go": True})
        case AskStatus():
            return line_of({"status": True})
        case Change():
            return line_of({"set": asdict(command)})
        case _:
            assert_never(command)


def decode_command(line: bytes) -> RelayCommand:
    """Read a line, with or without its end. Raises UsageError when it is not a command."""
    try:
        data = object_in(line)
        match sorted(data.keys() & {"round", "go", "status", "set"}):
            case ["round"]:
                return BeginRound(whole(data, "round", ROUND_MAX))
            case ["go"] if data["go"] is True:
                return Go()
            case ["status"] if data["status"] is True:
                return AskStatus()
            case ["set"]:
                return _change(data["set"])
            case _:
                raise NotAMessage('it has none of "round" with a number, "go" or "status" with true, "set"')
    except NotAMessage as error:
        raise UsageError(f"ignored command {shown(line)}: {error}") from error


def encode_message(message: RelayStatus | RelayEnd) -> bytes:
    """Return a message of the relay as a line; long texts are cut."""
    match message:
        case RelayStatus():
            kind = "status"
        case RelayEnd():
            kind = "end"
        case _:
            assert_never(message)
    return line_of({"type": kind, "protocol": PROTOCOL_VERSION, **asdict(message)})


def decode_message(line: bytes) -> RelayMessage:
    """Read a line, with or without its end. Raises LinkError when it is not a message of a relay."""
    try:
        data = object_in(line)
        version = whole(data, "protocol", COUNT_MAX)
        if version != PROTOCOL_VERSION:
            return OtherProtocol(version)
        match data.get("type"):
            case "status":
                return _status(data)
            case "end":
                return RelayEnd(_error(data.get("error")))
            case _:
                raise NotAMessage('its "type" is neither "status" nor "end"')
    except NotAMessage as error:
        raise LinkError(f"the relay said {shown(line)}: {error}") from error


def _status(data: Mapping[str, Any]) -> RelayStatus:
    return RelayStatus(**known_fields(RelayStatus, data), state=_state(data.get("state")))


def _change(data: object) -> Change:
    """Return what is to be changed; a limit of nothing, or nothing to change, is no message."""
    if not isinstance(data, dict):
        raise NotAMessage('"set" is not a JSON object')
    limit_s, bandwidth_bps = None, None
    if data.get("downtime_limit_s") is not None:
        limit_s = number(data, "downtime_limit_s", int(MOST_SECONDS))
        if not 0 < limit_s <= MOST_SECONDS:
            raise NotAMessage('"downtime_limit_s" is not more than 0')
    if data.get("bandwidth_bps") is not None:
        bandwidth_bps = whole(data, "bandwidth_bps", MOST_BYTES)
    go = data.get("go", False)
    if not isinstance(go, bool):
        raise NotAMessage('"go" is neither true nor false')
    if limit_s is None and bandwidth_bps is None and not go:
        raise NotAMessage('"set" has none of "downtime_limit_s", "bandwidth_bps" and "go"')
    return Change(limit_s, bandwidth_bps, go)


def _state(value: object) -> RelayState:
    try:
        return RelayState(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise NotAMessage('its "state" is unknown') from error


def _error(data: object) -> ErrorData | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise NotAMessage('"error" is not a JSON object')
    offset = None if data.get("offset") is None else whole(data, "offset", COUNT_MAX, -COUNT_MAX)
    more = {key: text(data, key, TEXT_MAX) for key in ("expected", "got") if key in data}
    return ErrorData(text(data, "kind", TEXT_MAX), text(data, "message", TEXT_MAX), offset, **more)
