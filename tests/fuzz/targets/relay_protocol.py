"""Lines between relay and driver: in whatever pieces, each is a message that comes back, or one error."""

from __future__ import annotations

from collections.abc import Iterator

from pagethrift.errors import LinkError, PagethriftError, StreamError, UsageError
from pagethrift.model import relay_protocol as protocol
from pagethrift.model.bounded_lines import BoundedLines
from pagethrift.model.error_data import from_data, to_data
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.running import Running, decode_answer, encode_running
from tests.fuzz.target import Bytes, Target, check_line, pieces

_MOST = (10, 200, LINE_MAX_BYTES)


def fuzz_one(data: bytes) -> None:
    source = Bytes(data)
    lengths = source.take(3)
    most = _MOST[source.below(3)]
    text = source.rest()
    reader = BoundedLines(most)
    lines = [line for piece in pieces(text, lengths) for line in reader.feed(piece)]
    *ended, begun = text.split(b"\n")
    expected = [line[: most + 1] for line in ended]
    assert lines == expected + ([begun[: most + 1]] if len(begun) > most else [])
    for line in [*lines[:20], begun]:
        _command(line)
        _message(line)
        _answer(line)


def _command(line: bytes) -> None:
    try:
        command = protocol.decode_command(line)
    except UsageError as error:
        check_line(error)
        return
    assert protocol.decode_command(protocol.encode_command(command)) == command


def _message(line: bytes) -> None:
    try:
        message = protocol.decode_message(line)
    except LinkError as error:
        check_line(error)
        return
    if isinstance(message, protocol.OtherProtocol):
        return
    again = protocol.encode_message(message)
    assert len(again) <= LINE_MAX_BYTES
    assert protocol.decode_message(again) == message
    if isinstance(message, protocol.RelayEnd) and message.error is not None:
        told = from_data(message.error)
        assert str(told) == message.error.message
        if isinstance(told, StreamError):
            assert to_data(told) == message.error


def _answer(line: bytes) -> None:
    try:
        running = decode_answer(line)
    except PagethriftError as error:  # the error of a refusal is whatever the other end says
        check_line(error)
        return
    again = encode_running(running)
    assert len(again) <= LINE_MAX_BYTES
    assert encode_running(decode_answer(again)) == again


def seeds() -> Iterator[bytes]:
    end = protocol.RelayEnd(to_data(StreamError(7, "a page", "none")))
    status = protocol.RelayStatus(protocol.RelayState.RAM, 1.5, 10, 3, link_bps=1e8, warning="w")
    commands: list[protocol.RelayCommand] = [protocol.BeginRound(3), protocol.Go(), protocol.AskStatus()]
    commands.append(protocol.Change(0.5, 12_500_000))
    messages: list[protocol.RelayStatus | protocol.RelayEnd] = [
        status,
        end,
        protocol.RelayEnd(),
        protocol.RelayStatus(),
    ]
    lines = [
        *(protocol.encode_command(each) for each in commands),
        encode_running(Running("id", guest="vm1", predicted_downtime_s=0.2)),
        *(protocol.encode_message(each) for each in messages),
        b'{"round": 1e400}\n', b'{"go": NaN}\n', b"[" * 1500 + b"\n", b'{"round": ' + b"9" * 1800 + b"}\n",
        b'{"protocol": 2}\n', "\ud800".encode("utf-8", "surrogatepass") + b"\n",
    ]  # fmt: skip
    for line in lines:
        yield b"\xff\xff\xff\2" + line
        yield b"\1\2\3\1" + line + line[:-1]
    yield b"\x40\x03\x01\2" + b"".join(lines)


TARGET = Target(fuzz_one, seeds, most_bytes=2000)
