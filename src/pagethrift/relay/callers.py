"""Whoever connects to the relay and has not shown yet that it is the source QEMU.

A caller costs a socket and its first bytes, never a thread. Callers are bounded in number and in time.
When there is no room, the one to go is of the host that has the most: one host's callers cannot push out
another's.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pagethrift.relay.doors import Door
from pagethrift.sockets import host_of
from pagethrift.stream.opening import OPENING_BYTES, Opening, judge

CALLERS_MAX = 512
"""QEMU connects up to 255 channels and main before anybody accepts; with the channels' sockets fewer than
the 1024 descriptors a process may have by default"""
CALLER_TIMEOUT_S = 30.0
"""QEMU writes what its connection begins with as soon as all of them are made"""
GREETED_TIMEOUT_S = 300.0
"""a channel's first packet comes when the source has set up dirty tracking, which is slow in large guests"""
ACCEPTS_AT_ONCE = 64
"""the source's bytes get their turn in between"""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(eq=False, slots=True)
class Caller:
    """A connection, and what it has said so far."""

    connection: socket.socket
    host: str
    """one for all connections of a machine; of a user where the socket is a Unix socket"""
    since_s: float
    head: bytearray = field(default_factory=bytearray)
    opening: Opening = Opening.UNSURE


class Callers:
    """Accepts connections and reads their first bytes; sorts out who cannot be QEMU.

    ``on_refused`` is told of each connection that is closed because of what it said, or did not say.
    """

    def __init__(self, door: Door, poller: select.epoll, on_refused: Callable[[Caller], None]) -> None:
        """Callers are registered with ``poller``; the door is not."""
        self._door = door
        self._poller = poller
        self._on_refused = on_refused
        self._by_number: dict[int, Caller] = {}

    def all(self) -> list[Caller]:
        """Return who waits, in the order of coming."""
        return list(self._by_number.values())

    def accept(self) -> None:
        """Accept who has come, at most ACCEPTS_AT_ONCE."""
        for _ in range(ACCEPTS_AT_ONCE):
            connection = self._door.take()
            if connection is None:
                return
            if isinstance(connection, OSError):
                if connection.errno in _NO_ROOM:
                    self._make_room()
                continue
            if len(self._by_number) >= CALLERS_MAX:
                self._make_room()
            caller = Caller(connection, host_of(connection), time.monotonic())
            self._by_number[connection.fileno()] = caller
            self._poller.register(connection, select.EPOLLIN)
            self._hear(caller)

    def hear(self, number: int) -> None:
        """Read from the caller with that descriptor, if there is one."""
        if number in self._by_number:
            self._hear(self._by_number[number])

    def hear_all(self) -> None:
        """Read what everybody has written so far."""
        for caller in self.all():
            if caller.opening in (Opening.UNSURE, Opening.GREETED):
                self._hear(caller)

    def expire(self) -> None:
        """Close whoever has taken too long."""
        now_s = time.monotonic()
        for caller in self.all():
            greeted = caller.opening in (Opening.GREETED, Opening.CHANNEL)
            if now_s - caller.since_s > (GREETED_TIMEOUT_S if greeted else CALLER_TIMEOUT_S):
                self.refuse(caller)

    def take_main(self) -> Caller | None:
        """Return the first caller that began as main does."""
        mains = (caller for caller in self.all() if caller.opening is Opening.MAIN)
        main = next(mains, None)
        return main and self.take(main)

    def refuse_mains(self) -> None:
        """Close whoever else began as main does."""
        for caller in self.all():
            if caller.opening is Opening.MAIN:
                self.refuse(caller)

    def take(self, caller: Caller) -> Caller:
        """Give a caller away."""
        self._forget(caller)
        return caller

    def refuse(self, caller: Caller) -> None:
        """Close a caller and say so."""
        self._forget(caller)
        caller.connection.close()
        self._on_refused(caller)

    def refuse_all(self) -> None:
        """Close everybody who is left."""
        for caller in self.all():
            self.refuse(caller)

    def _hear(self, caller: Caller) -> None:
        """Receive without waiting; nobody is kept who has closed, or cannot be QEMU any more."""
        try:
            data = caller.connection.recv(OPENING_BYTES - len(caller.head), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._forget(caller)
            caller.connection.close()
            return
        caller.head += data
        caller.opening = judge(caller.head)
        match caller.opening:
            case Opening.STRANGER | Opening.TLS:
                self.refuse(caller)
            case Opening.MAIN | Opening.CHANNEL:
                # the rest is for whoever takes it, and must not wake anybody until then
                self._poller.unregister(caller.connection)

    def _make_room(self) -> None:
        if self._by_number:
            callers = self.all()
            most, _ = Counter(caller.host for caller in callers).most_common(1)[0]
            theirs = [caller for caller in callers if caller.host == most]
            self.refuse(next((each for each in theirs if each.opening is Opening.UNSURE), theirs[0]))

    def _forget(self, caller: Caller) -> None:
        with contextlib.suppress(OSError, ValueError):  # not registered
            self._poller.unregister(caller.connection)
        del self._by_number[caller.connection.fileno()]
