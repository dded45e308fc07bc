"""What a relay hears from its driver and says to it, over the pipes of its process.

The relay must always notice that the driver has closed its pipe, because that ends the relay. Therefore
no bad command ends the listening thread, and no message waits for a driver that does not read.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol, assert_never

from pagethrift.errors import LinkError, PagethriftError, UsageError
from pagethrift.line_writer import LineWriter
from pagethrift.model.bounded_lines import BoundedLines
from pagethrift.model.error_data import to_data
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import (
    AskStatus,
    BeginRound,
    Change,
    Go,
    RelayEnd,
    RelayStatus,
    decode_command,
    encode_message,
)

READ_BYTES = 64 << 10
COMPLAINTS = 20
"""at most so many lines about bad commands: more could fill a pipe that nobody reads"""
LAST_WORD_MS = 2000
"""how long the last message waits for room in the driver's pipe before it is dropped"""


class Commanded(Protocol):
    """What carries commands out: `pagethrift.relay.session.Relay`."""

    def begin_round(self, number: int) -> None:
        """QEMU has begun a round."""

    def go(self) -> None:
        """The switchover is decided."""

    def change(self, change: Change) -> None:
        """Change a limit."""

    def tell(self) -> None:
        """Report now."""

    def abort(self, error: PagethriftError) -> None:
        """End, because of an error."""


def obey(relay: Commanded, input_fd: int) -> None:
    """Carry out what the driver writes until it closes its end, which aborts the relay.

    A line that is not a command is reported on standard error and has no other effect.
    """
    lines, complaints = BoundedLines(LINE_MAX_BYTES), 0
    try:
        while data := _read(input_fd):
            for line in lines.feed(data):
                try:
                    _carry_out(relay, line)
                except UsageError as error:
                    complaints += 1
                    if complaints <= COMPLAINTS:
                        _complain(error)
    finally:
        relay.abort(LinkError("the process that started this relay is gone"))


def _read(input_fd: int) -> bytes:
    try:
        return os.read(input_fd, READ_BYTES)
    except OSError:  # a driver that dies with our answers unread resets the connection
        return b""


def _carry_out(relay: Commanded, line: bytes) -> None:
    command = decode_command(line)
    match command:
        case BeginRound(number):
            relay.begin_round(number)
        case Go():
            relay.go()
        case Change():
            relay.change(command)
        case AskStatus():
            relay.tell()
        case _:
            assert_never(command)


def _complain(error: UsageError) -> None:
    try:
        print(f"pagethrift: {error}", file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody is left to read it
        return


class Speaker:
    """Writes messages to the driver, from any thread, a whole line at a time.

    A driver that is gone is no matter here: the end of the other pipe ends the relay.
    """

    def __init__(self, output_fd: int) -> None:
        self._lines = LineWriter(output_fd)

    def status(self, status: RelayStatus) -> None:
        """Tell the driver how far the relay is; the message is dropped while the driver's pipe is full."""
        self._lines.write(encode_message(status), timeout_ms=0)

    def end(self, error: BaseException | None) -> None:
        """Tell the driver how the relay ended: the last message."""
        self._lines.write(encode_message(RelayEnd(None if error is None else to_data(error))), LAST_WORD_MS)
