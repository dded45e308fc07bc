"""Runs a command between two pipes or unix sockets and times what it does with a stream.

The clock starts when the command has swallowed the stream's prefix and sleeps, so that
start-up is apart for every command alike. Pipes are fed and emptied with splice(2), which
copies nothing: the command is what is measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.mixes import StreamFile
from scripts.bench.rounds import Sample

from pagethrift.process_memory import memory_bytes

PIPE_BYTES = 1 << 20
"""what `pagethrift thin` asks for; cat gets the same"""
SOCKET_PIECE_BYTES = 1 << 20
POLL_S = 0.0002
STALL_S = 120.0


@dataclass(slots=True)
class _Ends:
    """Our ends of the command's standard input and output."""

    feed: int
    drain: int
    sockets: bool
    keep: list[socket.socket] = field(default_factory=list)

    def unread_bytes(self) -> int:
        request = termios.TIOCOUTQ if self.sockets else termios.FIONREAD
        return int(struct.unpack("i", fcntl.ioctl(self.feed, request, bytes(4)))[0])

    def undrained_bytes(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self.drain, termios.FIONREAD, bytes(4)))[0])


class _Drain(threading.Thread):
    """Empties the command's output; remembers when the last byte came."""

    def __init__(self, ends: _Ends) -> None:
        super().__init__(name="drain", daemon=True)
        self._ends = ends
        self.last_s = 0.0
        self.bytes = 0

    def run(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        scratch = bytearray(SOCKET_PIECE_BYTES)
        while True:
            if self._ends.sockets:
                count = os.readv(self._ends.drain, [scratch])
            else:
                count = os.splice(self._ends.drain, null, PIPE_BYTES)
            if not count:
                break
            self.last_s = time.perf_counter()
            self.bytes += count
        os.close(null)


def run_command(arguments: Sequence[str], stream: StreamFile, sockets: bool = False) -> Sample:
    """Feed a stream to a command and return what its part after the prefix took."""
    began_s = time.perf_counter()
    with _started(arguments, sockets) as (process, ends), stream.path.open("rb") as file:
        drain = _Drain(ends)
        drain.start()
        _feed(ends, file.fileno(), 0, stream.prefix_bytes)
        _wait_idle(process, ends)
        cpu_s, out_bytes, start_s = _cpu_s(process.pid), drain.bytes, time.perf_counter()
        _feed(ends, file.fileno(), stream.prefix_bytes, stream.total_bytes)
        fed_s = time.perf_counter()
        _wait_idle(process, ends)
        cpu_s = _cpu_s(process.pid) - cpu_s
        peak_rss_bytes = memory_bytes(process.pid)
        os.close(ends.feed)
        drain.join(STALL_S)
        end_s = max(fed_s, drain.last_s)
    return Sample(
        end_s - start_s,
        stream.measured_bytes,
        stream.measured_pages,
        cpu_s,
        peak_rss_bytes,
        start_s - began_s,
        drain.bytes - out_bytes,
    )


@contextlib.contextmanager
def _started(arguments: Sequence[str], sockets: bool):  # type: ignore[no-untyped-def]
    if sockets:
        (feed, stdin), (stdout, drain) = socket.socketpair(), socket.socketpair()
        theirs, ends = (
            (stdin.detach(), stdout.detach()),
            _Ends(feed.detach(), drain.detach(), True),
        )
    else:
        (stdin_fd, feed_fd), (drain_fd, stdout_fd) = os.pipe(), os.pipe()
        for descriptor in (feed_fd, stdout_fd):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        theirs, ends = (stdin_fd, stdout_fd), _Ends(feed_fd, drain_fd, False)
    process = subprocess.Popen(list(arguments), stdin=theirs[0], stdout=theirs[1])
    for descriptor in theirs:
        os.close(descriptor)
    try:
        yield process, ends
        if process.wait(STALL_S):
            raise RuntimeError(f"{arguments[0]} ended with exit code {process.returncode}")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ends.drain)


def _feed(ends: _Ends, file: int, start: int, stop: int) -> None:
    while start < stop:
        if ends.sockets:
            count = os.sendfile(ends.feed, file, start, min(SOCKET_PIECE_BYTES, stop - start))
        else:
            count = os.splice(file, ends.feed, min(PIPE_BYTES, stop - start), offset_src=start)
        start += count


def _wait_idle(process: subprocess.Popen[bytes], ends: _Ends) -> None:
    """Wait until the command has read everything and sleeps, twice in a row."""
    idle = 0
    limit_s = time.perf_counter() + STALL_S
    while idle < 2:
        if process.poll() is not None or time.perf_counter() > limit_s:
            raise RuntimeError(f"{process.args!r} stopped reading, exit code {process.returncode}")
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        empty = not ends.unread_bytes() and not ends.undrained_bytes()
        idle = idle + 1 if empty and state == "S" else 0
        time.sleep(POLL_S)


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads, to the nanosecond where the kernel counts them."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def command_measure(
    arguments: Sequence[str], stream: StreamFile, sockets: bool = False
) -> Callable[[], Sample]:
    """Return a measure for ``interleave``."""
    return lambda: run_command(arguments, stream, sockets)
