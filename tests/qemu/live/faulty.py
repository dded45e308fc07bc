"""What the fault matrix breaks: a link, a monitor, a disk's lock, at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

DEVICE_STATE = b"cpu_common"
"""the name of the first vCPU's section: RAM is over and the devices' state begins"""
_CHUNK = 32768


class Link:
    """Carries every connection from ``near`` to ``far``, at ``bytes_per_s``.

    ``hold_at`` names the place where it waits for ``go``: "start" before the first byte, "device" before the
    state of the first vCPU. ``held`` is set as soon as it waits.
    """

    def __init__(self, near: Path, far: Path, bytes_per_s: float, hold_at: str = "") -> None:
        self.far = far
        self.bytes_per_s = bytes_per_s
        self.hold_at = hold_at
        self.carried = 0
        self.held = threading.Event()
        self.go = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(near))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, as a router that dies; later ones are carried again."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Carry nothing any more."""
        self.go.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                self._sockets += [near, far]
                try:
                    far.connect(str(self.far))
                except OSError:
                    near.close()
                    continue
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, from_: socket.socket, to: socket.socket, forward: bool) -> None:
        before = b""
        with contextlib.suppress(OSError):
            while data := from_.recv(_CHUNK):
                if forward:
                    self._pause(before, data)
                    before = data[-len(DEVICE_STATE) :]
                to.sendall(data)
                self.carried += len(data) * forward
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    def _pause(self, before: bytes, data: bytes) -> None:
        here = self.hold_at == "start" or (self.hold_at == "device" and DEVICE_STATE in before + data)
        if here and not self.held.is_set():
            self.held.set()
            self.go.wait(60)
        ends_s = time.monotonic()
        while True:  # the rate may change while it waits
            rate = self.bytes_per_s
            if rate and time.monotonic() - ends_s >= len(data) / rate:
                return
            time.sleep(0.005)


class Monitor(Link):
    """A QMP socket before QEMU's; once ``gone`` it answers nobody."""

    def __init__(self, near: Path, far: Path) -> None:
        super().__init__(near, far, 1e9)

    def gone(self) -> None:
        """Hang up and listen no more."""
        self.close()


class DiskLock:
    """What another process that writes a disk image holds on it, in the way of QEMU's locking."""

    _NO_OTHER_WRITER = 201
    """the byte whose lock says so: QEMU's base of 200 for what is not shared, and 1 for writing"""

    def __init__(self, image: Path) -> None:
        self._descriptor = os.open(image, os.O_RDWR | os.O_CLOEXEC)

    def take(self) -> None:
        """Take it; who has the disk keeps it, nobody else gets it."""
        self._set(fcntl.F_RDLCK)

    def release(self) -> None:
        """Let go."""
        self._set(fcntl.F_UNLCK)

    def close(self) -> None:
        """Let go for good."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _set(self, kind: int) -> None:
        lock = struct.pack("hhqqi", kind, os.SEEK_SET, self._NO_OTHER_WRITER, 1, 0)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, lock)


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(each) for each in task.read_text().split()]
    return found


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
