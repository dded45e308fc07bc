"""How a connection of a migrating QEMU begins, so that it is told apart from everybody else's.

Main begins with the stream's header and, in every machine type that is read here, the configuration
section. A multifd channel begins with a handshake of 64 bytes and a first packet that holds a SYNC and
no page. Whoever begins otherwise is a stranger, at the first byte that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TypeVar

from pagethrift.errors import StreamError
from pagethrift.stream.events import BodyEnds, Pages, Signal
from pagethrift.stream.packets import HANDSHAKE_BYTES, HEADER_BYTES, MULTIFD_VERSION, Handshake, PacketFlag
from pagethrift.stream.reader import StreamReader
from pagethrift.stream.wire import MAGIC, MULTIFD_MAGIC, VERSION, Section

OPENING_BYTES = HANDSHAKE_BYTES + HEADER_BYTES
"""no connection needs more to be told apart"""
NAME_BYTES = range(1, 256)
"""of a machine type's name"""
NAME_SEEN_BYTES = 4
"""so much of the name must be there; the shortest one is longer"""

_MAIN = MAGIC.to_bytes(4, "big") + VERSION.to_bytes(4, "big")
_CHANNEL = MULTIFD_MAGIC.to_bytes(4, "big") + MULTIFD_VERSION.to_bytes(4, "big")
_TLS = b"\x16\x03"
_NAME_AT = len(_MAIN) + 5
_UUID = bytes([Section.SUBSECTION]) + b"\x12configuration/uuid"
"""a version of four bytes follows, and the uuid"""
_KNOWN_FLAGS = sum(PacketFlag)

T = TypeVar("T")


class Opening(Enum):
    """What the first bytes of a connection say."""

    UNSURE = auto()
    """too little yet"""
    MAIN = auto()
    GREETED = auto()
    """the handshake of a channel, whose first packet is still missing"""
    CHANNEL = auto()
    TLS = auto()
    STRANGER = auto()


def judge(head: bytes | bytearray) -> Opening:
    """Say what a connection is, from its first bytes, however many are there."""
    if _agrees(head, _MAIN):
        return _judge_main(head)
    if _agrees(head, _CHANNEL):
        return _judge_channel(head)
    if _agrees(head, _TLS):
        return Opening.TLS if len(head) >= len(_TLS) else Opening.UNSURE
    return Opening.STRANGER


def handshake_of(head: bytes | bytearray) -> Handshake:
    """Read the handshake of a channel that was judged as GREETED or CHANNEL."""
    return Handshake(head[24], bytes(head[8:24]))


def uuid_of(head: bytes | bytearray) -> bytes | None:
    """Return the guest's uuid from main's first bytes; None where capability validate-uuid is off."""
    at = head.find(_UUID)
    start = at + len(_UUID) + 4
    if at < 0 or len(head) < start + 16:
        return None
    return bytes(head[start : start + 16])


def choose_channels(
    callers: Sequence[T], shake: Callable[[T], Handshake], uuid: bytes | None = None
) -> list[T]:
    """Return those that can be the channels of one migration: one guest's, numbered from 0, each once.

    Of several guests, the one with the most channels; of several with one number, the first.
    ``uuid`` is the guest's, where it is known.
    """
    guests: dict[bytes, dict[int, T]] = {}
    for caller in callers:
        found = shake(caller)
        if uuid is None or found.uuid == uuid:
            guests.setdefault(found.uuid, {}).setdefault(found.number, caller)
    best: list[T] = []
    for numbers in guests.values():
        run: list[T] = []
        while len(run) in numbers:
            run.append(numbers[len(run)])
        best = run if len(run) > len(best) else best
    return best


class FirstMark:
    """Reads main alongside, to say in which piece RAM's first section ends or has its first mark.

    All channels of a migration have connected, and written their first packet, before that.
    """

    def __init__(self) -> None:
        self.reached = False
        self._reader = StreamReader(buffer_bytes=64 << 10, batch_pages=64)

    def feed(self, data: memoryview) -> bool:
        """Look at main's next bytes (none: its end); returns ``reached``, also when they break the format."""
        if self.reached:
            return True
        try:
            for event in self._reader.feed(data):
                if event in (Signal.FLUSH, Signal.END) or isinstance(event, BodyEnds | Pages):
                    self.reached = True
                    break
        except StreamError:  # whoever reads main says what is wrong
            self.reached = True
        return self.reached


def _agrees(head: bytes | bytearray, start: bytes) -> bool:
    return head[: len(start)] == start[: len(head)]


def _judge_main(head: bytes | bytearray) -> Opening:
    if len(head) <= len(_MAIN):
        return Opening.UNSURE
    section = head[len(_MAIN)]
    if section in (Section.START, Section.FULL, Section.COMMAND):  # machine types without a configuration
        return Opening.MAIN
    if section != Section.CONFIGURATION:
        return Opening.STRANGER
    if len(head) < _NAME_AT:
        return Opening.UNSURE
    length = int.from_bytes(head[_NAME_AT - 4 : _NAME_AT], "big")
    name = head[_NAME_AT : _NAME_AT + length] if length in NAME_BYTES else b""
    if length not in NAME_BYTES or not all(0x20 < byte < 0x7F for byte in name):
        return Opening.STRANGER
    return Opening.MAIN if len(name) >= min(length, NAME_SEEN_BYTES) else Opening.UNSURE


def _judge_channel(head: bytes | bytearray) -> Opening:
    if len(head) < HANDSHAKE_BYTES:
        return Opening.UNSURE
    packet = head[HANDSHAKE_BYTES:]
    if not _agrees(packet, _CHANNEL):
        return Opening.STRANGER
    if len(packet) < HEADER_BYTES:
        return Opening.GREETED
    flags, normal, zero = (int.from_bytes(packet[at : at + 4], "big") for at in (8, 16, 32))
    first = flags & PacketFlag.SYNC and flags <= _KNOWN_FLAGS and not normal and not zero
    return Opening.CHANNEL if first else Opening.STRANGER
