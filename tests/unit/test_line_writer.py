"""Lines to a pipe: whole ones, and none waits for its reader for long. See also relay/test_control.py."""

from __future__ import annotations

import os
import threading
import time

from pagethrift.line_writer import LineWriter


def test_lines_are_whole_whoever_writes_them() -> None:
    read_fd, write_fd = os.pipe()
    writer, got = LineWriter(write_fd), bytearray()

    def read() -> None:
        while data := os.read(read_fd, 1 << 16):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()

    def write(word: bytes) -> None:
        for _ in range(50):
            writer.write(word * 3000 + b"\n", 5000)

    threads = [threading.Thread(target=write, args=(word,)) for word in (b"a", b"b")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    os.close(write_fd)
    reader.join()
    os.close(read_fd)
    assert sorted(got.splitlines()) == [b"a" * 3000] * 50 + [b"b" * 3000] * 50


def test_a_full_pipe_loses_lines_and_a_torn_one_ends_before_the_next() -> None:
    read_fd, write_fd = os.pipe()
    writer = LineWriter(write_fd)
    began_s = time.monotonic()
    for _ in range(100):
        writer.write(b"x" * 5000 + b"\n", 0)
    assert time.monotonic() - began_s < 2
    os.read(read_fd, 1 << 16)
    writer.write(b"whole\n", 0)
    os.close(write_fd)
    *_, last = os.read(read_fd, 1 << 16).splitlines()
    os.close(read_fd)
    assert last == b"whole"


def test_a_reader_that_is_gone_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    LineWriter(write_fd).write(b"word\n", 100)
    os.close(write_fd)
