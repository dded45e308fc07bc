"""Lines of a process, with a deadline that holds also when nothing comes."""

import os
import threading
import time
from collections.abc import Iterator
from typing import IO

import pytest

from pagethrift.lab.hosts.lines import LineReader


@pytest.fixture
def pipe() -> Iterator[tuple[LineReader, IO[bytes]]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as writer:
        yield LineReader(stream), writer


def test_lines_come_one_by_one_also_when_written_at_once(pipe: tuple[LineReader, IO[bytes]]) -> None:
    reader, writer = pipe
    writer.write(b"one\ntwo\nthr")
    assert reader.next(5) == b"one\n"
    assert reader.next(5) == b"two\n"
    assert reader.next(0) is None
    writer.write(b"ee\n")
    assert reader.next(5) == b"three\n"
    assert not reader.ended


def test_a_silent_writer_does_not_block(pipe: tuple[LineReader, IO[bytes]]) -> None:
    reader, writer = pipe
    writer.write(b"half a line")
    began_s = time.monotonic()
    assert reader.next(0.05) is None
    assert time.monotonic() - began_s < 5
    assert not reader.ended


def test_a_line_that_comes_in_time_is_returned(pipe: tuple[LineReader, IO[bytes]]) -> None:
    reader, writer = pipe
    timer = threading.Timer(0.05, writer.write, (b"late\n",))
    timer.start()
    assert reader.next(30) == b"late\n"
    timer.join()


def test_the_end_is_told_from_silence_and_drops_an_unfinished_line(
    pipe: tuple[LineReader, IO[bytes]],
) -> None:
    reader, writer = pipe
    writer.write(b"last\nunfinished")
    writer.close()
    assert reader.next(5) == b"last\n"
    assert reader.next(5) is None
    assert reader.ended
