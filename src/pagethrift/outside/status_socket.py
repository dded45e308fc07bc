"""The status socket of one relay or migration: a Unix socket in the state folder, for its owner and root.

A connection brings one line and gets one back (model/running.py). One thread serves all, one after the
other, each for a bounded time. The file's name is the kind and the process number; a file that nobody
listens at was left by a process that was killed, and whoever finds it among its own removes it.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pagethrift.errors import PagethriftError, UsageError
from pagethrift.model.json_lines import LINE_MAX_BYTES
from pagethrift.model.relay_protocol import AskStatus, Change, decode_command
from pagethrift.model.running import RunKind, Running, encode_refusal, encode_running
from pagethrift.sockets import Listener, close_both_ways, remove_dead_socket
from pagethrift.state_folder import socket_folder

REQUEST_S = 1.0
"""how long one caller may take to ask, and to take the answer"""
AGAIN_S = 0.1
"""after an error, such as no descriptor left"""
BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")
"""of SO_PEERCRED: process, user, group"""
_NAME = re.compile(r"(relay|migrate)-([0-9]{1,10})\.sock")


def process_of(path: Path) -> int | None:
    """Return the process number in a status socket's name; None for any other file."""
    match = _NAME.fullmatch(path.name)
    return int(match[2]) if match else None


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return (process number, user id) at the other end, as the kernel knows them. Raises OSError."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user_id, _ = _CREDENTIALS.unpack(data)
    return pid, user_id


def receive_line(connection: socket.socket, within_s: float) -> bytes:
    """Return the first line that comes, without its end. Raises OSError, also when it takes too long."""
    deadline_s, data = time.monotonic() + within_s, bytearray()
    while b"\n" not in data and len(data) <= LINE_MAX_BYTES:
        connection.settimeout(max(0.001, deadline_s - time.monotonic()))
        more = connection.recv(LINE_MAX_BYTES)
        if not more:
            break
        data += more
        if time.monotonic() > deadline_s:
            raise TimeoutError
    return bytes(data).partition(b"\n")[0]


class StatusSocket:
    """Answers who asks for the status of this process, and carries changes out."""

    def __init__(
        self, listener: Listener, running: Callable[[], Running], change: Callable[[Change], None]
    ) -> None:
        """Use `open_status_socket`. ``change`` raises a PagethriftError when it refuses."""
        self._listener = listener
        self._running = running
        self._change = change
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="status socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and remove the file."""
        self._closed = True
        self._listener.remove_file()
        close_both_ways(self._listener)  # wakes the thread
        self._thread.join(REQUEST_S)

    def _serve(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._serve_one(connection)
            except Exception:  # whoever asked gets no answer, and that is all
                if not self._closed:
                    time.sleep(AGAIN_S)

    def _serve_one(self, connection: socket.socket) -> None:
        if peer_of(connection)[1] not in (0, os.geteuid()):
            return
        answer = self._answer(receive_line(connection, REQUEST_S))
        connection.settimeout(REQUEST_S)
        connection.sendall(answer)

    def _answer(self, line: bytes) -> bytes:
        try:
            command = decode_command(line)
            match command:
                case Change():
                    self._change(command)
                case AskStatus():
                    pass
                case _:
                    raise UsageError("a status socket takes only a question for the status, and changes")
            return encode_running(self._running())
        except PagethriftError as error:
            return encode_refusal(error)


def open_status_socket(
    kind: RunKind,
    running: Callable[[], Running],
    change: Callable[[Change], None],
    warn: Callable[[str], None],
) -> StatusSocket | None:
    """Open this process's status socket; where that is impossible, say so by ``warn`` and go on without."""
    folder = socket_folder()
    if folder is None:
        warn("no folder for a status socket, so pagethrift top does not show this one")
        return None
    for path in folder.glob("*.sock"):
        if process_of(path) is not None:
            remove_dead_socket(str(path))
    path = folder / f"{kind.value}-{os.getpid()}.sock"
    try:
        listener = Listener.at(str(path))
        try:
            path.chmod(0o600)  # before it listens: nobody can have connected
            listener.listen(BACKLOG)
            return StatusSocket(listener, running, change)
        except BaseException:
            listener.remove_file()
            listener.close()
            raise
    except (OSError, RuntimeError, MemoryError) as error:  # no room, no right, no thread
        said = getattr(error, "strerror", None) or error
        warn(f"no status socket {path}: {said}; pagethrift top does not show this one")
        return None
