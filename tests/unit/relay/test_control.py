"""Commands from the driver and messages to it, over real pipes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from pagethrift.errors import LinkError, PagethriftError, StreamError
from pagethrift.model.bounded_lines import BoundedLines
from pagethrift.model.error_data import from_data, to_data
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import (
    Change,
    RelayEnd,
    RelayMessage,
    RelayStatus,
    decode_message,
)
from pagethrift.relay.control import COMPLAINTS, Speaker, obey


class Relay:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.error: PagethriftError | None = None

    def begin_round(self, number: int) -> None:
        self.done.append(number)

    def go(self) -> None:
        self.done.append("go")

    def change(self, change: Change) -> None:
        self.done.append(change)

    def tell(self) -> None:
        self.done.append("tell")

    def abort(self, error: PagethriftError) -> None:
        assert self.error is None
        self.error = error


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for each in ends:
        try:
            os.close(each)
        except OSError:
            continue


def obeyed(pipe: tuple[int, int], data: bytes) -> Relay:
    """Let a relay hear ``data`` and the end of file."""
    relay = Relay()
    thread = threading.Thread(target=obey, args=(relay, pipe[0]), daemon=True)
    thread.start()
    left = memoryview(data)
    while left:
        left = left[os.write(pipe[1], left) :]
    os.close(pipe[1])
    thread.join(10)
    assert not thread.is_alive()
    return relay


def test_carries_out_commands_until_the_end_of_file(pipe: tuple[int, int]) -> None:
    relay = obeyed(
        pipe, b'{"round": 1}\n{"status": true}\n{"set": {"bandwidth_bps": 9}}\n{"go": true}\n{"round": 2}'
    )
    assert relay.done == [1, "tell", Change(None, 9), "go"], "a line that was not finished is not carried out"
    assert isinstance(relay.error, LinkError)
    assert "started this relay is gone" in str(relay.error)


@pytest.mark.parametrize(
    "line",
    [b'{"round": 1e400}', b'{"round": "x"}', b'{"round": ' + b"9" * 5000 + b"}", b"[" * 20_000, b"\xff\xfe",
     b"x" * (3 * LINE_MAX_BYTES), b'{"go": true}' * 10_000, b"\0" * 100, b"", b"{}"],
)  # fmt: skip
def test_what_is_no_command_costs_one_line(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    relay = obeyed(pipe, b'{"round": 7}\n' + line + b'\n{"go": true}\n')
    assert relay.done == [7, "go"]
    assert relay.error is not None
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("pagethrift: ignored command b")
    assert len(said) < 400


def test_a_line_without_end_hides_no_end_of_file(pipe: tuple[int, int]) -> None:
    relay = obeyed(pipe, b"x" * (5 << 20))
    assert relay.done == []
    assert relay.error is not None


def test_a_flood_of_bad_lines_does_not_fill_standard_error(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    relay = obeyed(pipe, b"bad\n" * 10_000 + b'{"go": true}\n')
    assert relay.done == ["go"]
    assert len(capsys.readouterr().err.splitlines()) == COMPLAINTS


def test_a_closed_standard_error_does_not_matter(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as gone:
        monkeypatch.setattr("sys.stderr", gone)
        relay = obeyed(pipe, b'bad\n{"go": true}\n')
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            gone.close()
    assert relay.done == ["go"]


def messages(read_fd: int) -> Iterator[RelayMessage]:
    lines = BoundedLines(LINE_MAX_BYTES)
    while data := os.read(read_fd, 1 << 16):
        yield from map(decode_message, lines.feed(data))


def test_says_statuses_and_the_last_word(pipe: tuple[int, int]) -> None:
    speaker, error = Speaker(pipe[1]), StreamError(5, "a", "b")
    speaker.status(RelayStatus(pages_in=1))
    speaker.end(error)
    speaker.end(None)
    os.close(pipe[1])
    first, second, third = messages(pipe[0])
    assert first == RelayStatus(pages_in=1)
    assert second == RelayEnd(to_data(error))
    assert isinstance(second, RelayEnd)
    assert second.error is not None
    assert str(from_data(second.error)) == str(error)
    assert third == RelayEnd()


def test_a_driver_that_does_not_read_stops_nobody(pipe: tuple[int, int]) -> None:
    speaker = Speaker(pipe[1])
    began_s = time.monotonic()
    for number in range(2000):
        speaker.status(RelayStatus(pages_in=number, warning="\U0001f40c" * 500))
    assert time.monotonic() - began_s < 5
    reader = threading.Thread(target=lambda: seen.extend(messages_seen(pipe[0])), daemon=True)
    seen: list[object] = []
    reader.start()
    speaker.end(LinkError("late, but heard"))
    os.close(pipe[1])
    reader.join(5)
    numbers = [each.pages_in for each in seen if isinstance(each, RelayStatus)]
    assert numbers == sorted(numbers)
    assert 0 < len(numbers) < 100
    assert seen[-1] == RelayEnd(to_data(LinkError("late, but heard")))


def messages_seen(read_fd: int) -> Iterator[object]:
    """Yield messages, and the torn line as bytes."""
    lines = BoundedLines(LINE_MAX_BYTES)
    while data := os.read(read_fd, 1 << 16):
        for line in lines.feed(data):
            try:
                yield decode_message(line)
            except LinkError:
                yield line


def test_a_driver_that_is_gone_stops_nobody(pipe: tuple[int, int]) -> None:
    speaker = Speaker(pipe[1])
    os.close(pipe[0])
    speaker.status(RelayStatus())
    speaker.end(None)
