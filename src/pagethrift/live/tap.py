"""Where QEMU writes the stream of a dry migration to us, and blocks when we stop reading.

A monitor that is ours gives QEMU one end of a socket pair whose send buffer we can shrink to about a page.
With that buffer QEMU blocks within a few pages of where we stopped reading, and cannot run ahead into its
next round. Its guest does not notice: the migration thread blocks without any lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from abc import ABC, abstractmethod

from pagethrift.errors import LinkError, QmpError
from pagethrift.live.qmp import QmpMonitor
from pagethrift.sockets import close_both_ways

NAME = "pagethrift-tap"
WIDE_BYTES = 32 << 10
"""the kernel doubles this: 16 pages in one read are as fast as more"""
HOLD_PAGES = 6
"""pages left unread so that QEMU stays blocked: the kernel's smallest buffer takes 4480 bytes, we may have
read half a page too much, and some of the six pages may be zero"""
NEAR_END_PAGES = 256
"""pages before the round's end at which to narrow: QEMU is ahead by 16 pages in the wide buffer and 32 in
its own vector, and by more where pages are zero"""


class Tap(ABC):
    """Our end of QEMU's stream."""

    hold_pages: int
    """pages to leave unread so that QEMU stays blocked within its round"""
    near_end_pages: int
    """pages before a round's end at which to narrow"""
    reads_on: bool
    """a guest that was stopped runs on once the whole stream is read; otherwise the stream is cut for that"""

    def __init__(self, ours: int) -> None:
        """``ours``: a descriptor to read from, which does not block."""
        self._fd = ours

    @abstractmethod
    def widen(self) -> None:
        """Let QEMU write ahead, for fast reading."""

    @abstractmethod
    def narrow(self) -> None:
        """Keep QEMU as close to our reading as can be."""

    @abstractmethod
    def cut(self) -> None:
        """Break the stream: a QEMU in its switchover fails the migration, and its guest runs on."""

    async def read_into(self, room: memoryview, timeout_s: float) -> int:
        """Receive what there is; 0 if nothing came in time. Raises LinkError when QEMU closed the stream."""
        if count := self.read_now(room):
            return count
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, readable.set)
        try:  # not sock_recv_into: a timeout just after it received bytes would lose them
            async with asyncio.timeout(timeout_s):
                await readable.wait()
        except TimeoutError:
            return 0
        finally:
            loop.remove_reader(self._fd)
        return self.read_now(room)

    def read_now(self, room: memoryview) -> int:
        """Receive without waiting; 0 for nothing. Raises LinkError when QEMU closed the stream."""
        try:
            count = os.readv(self._fd, [room])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LinkError(f"the source QEMU closed its migration stream: {error.strerror}") from error
        if count == 0:
            raise LinkError("the source QEMU closed its migration stream")
        return count


class SocketTap(Tap):
    """Our end of a socket pair whose other end QEMU is given."""

    hold_pages = HOLD_PAGES
    near_end_pages = NEAR_END_PAGES
    reads_on = False

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        super().__init__(self._ours.fileno())
        self._wide = False
        self.narrow()

    async def open(self, monitor: QmpMonitor) -> None:
        """Tell QEMU to migrate into us. Raises QmpError."""
        await monitor.give_descriptor(NAME, self._theirs.fileno())
        await monitor.migrate(f"fd:{NAME}")

    def widen(self) -> None:
        """Let QEMU write ahead, for fast reading."""
        if not self._wide:
            self._wide = True
            self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WIDE_BYTES)

    def narrow(self) -> None:
        """Keep QEMU within a page of our reading."""
        self._wide = False
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def cut(self) -> None:
        """Shut both directions down: a QEMU in its switchover fails the migration, and its guest runs on."""
        for end in (self._ours, self._theirs):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close our copies of both sockets."""
        close_both_ways(self._ours)
        self._theirs.close()


async def end_dry_migration(monitor: QmpMonitor, tap: SocketTap, timeout_s: float = 10.0) -> str:
    """Cancel the migration and wait for its end; return what went wrong, or an empty string."""
    try:
        await monitor.cancel_migration()
    except QmpError as error:
        tap.cut()
        if not monitor.alive:
            return str(error)
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    try:
        while (await monitor.query_migrate()).status not in ("cancelled", "failed", "none", "", "completed"):
            if asyncio.get_running_loop().time() > deadline_s:
                tap.cut()
                return "the source did not confirm the end of the dry migration"
            await asyncio.sleep(0.01)
    except QmpError as error:
        return str(error)
    return ""
