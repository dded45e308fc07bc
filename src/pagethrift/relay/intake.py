"""QEMU's sockets: the main one and, with multifd, a few more, all read at the same time.

QEMU blocks on any of them: a channel that is left unread keeps main's next bytes from being written.
Each channel therefore has a thread, which receives, cuts and signs one batch ahead (kernels release
the GIL) and waits until the thinner has used that batch. The wait bounds the memory: a channel's
thread never holds more than it received at once. The thinner's own thread reads main.

Sockets are told apart by what they begin with (stream/opening.py), because their order differs: QEMU 7.2
connects main first, QEMU 9.0 and later write main's first byte only when every channel is connected. By
the first mark of RAM's first section all have connected and written their first packet. So the channels
are chosen at that mark, at once: those of main's host and of one guest, numbered from 0, each once.
Nobody who is not chosen can belong to this migration. Whoever connects before or after is closed, and
the migration goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from pagethrift.address import Address
from pagethrift.engine.source_channels import Channel
from pagethrift.engine.thinner import Thinner
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.relay import threads
from pagethrift.relay.callers import ACCEPTS_AT_ONCE, Caller, Callers
from pagethrift.relay.doors import BACKLOG, Door, door_at
from pagethrift.sockets import end_on_close, host_of
from pagethrift.stream.opening import FirstMark, Opening, choose_channels, handshake_of, uuid_of
from pagethrift.stream.packets import CHANNEL_BUFFER_BYTES

MIN_RECEIVE_BYTES = 64 << 10
TICK_S = 0.5
GATHER_MS = 1
"""how long to wait for more bytes while the link is busy; QEMU fills its socket (208 KiB) faster"""
PREAMBLE_SILENCE_S = 120.0
"""a source that has begun and sends nothing before RAM's first mark is given up after this time"""
SILENT_S = 1.0
"""TCP: a channel's handshake leaves with its connection, so it comes by then, lost twice"""
GREETED_S = 2.0
"""TCP: a channel's first packet was written before main's mark, so it comes by then"""
LATE_S = 0.05
"""how often those are closed who connect after the mark, ACCEPTS_AT_ONCE at a time: no flood costs more"""


class Intake:
    """Waits for one source and gives what it sends to the thinner.

    ``receive_bytes`` is how much all sockets together may receive ahead; the session keeps it in
    step with the rate of the link.
    """

    def __init__(self, entrance: Address | Door, thinner: Thinner) -> None:
        """Take connections at a door, or listen at an address. Raises LinkError."""
        self.main: socket.socket | None = None
        self.receive_bytes = MIN_RECEIVE_BYTES
        self.refused = 0
        """connections that were closed because they cannot belong to this migration"""
        self.warning = ""
        """about the first of them"""
        self._thinner = thinner
        self._door = door_at(entrance)
        self._feeders: dict[Channel, _Feeder] = {}
        self._stopped = self._closed = False
        self._lock = threading.Lock()
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.epoll()
        self._poller.register(self._news, select.EPOLLIN)
        self._poller.register(self._door, select.EPOLLIN)
        self._callers = Callers(self._door, self._poller, self._refused)
        self._main_polled = False
        self._main_host = ""
        self._head = b""
        """main's first bytes, which were needed to know it"""
        self._uuid: bytes | None = None
        self._mark = FirstMark()
        self._heard_s = self._looked_s = time.monotonic()

    def wait_for_main(self) -> socket.socket:
        """Return the main socket once it has begun as a migration stream does. Raises LinkError."""
        while self.main is None:
            self._poll(main=False)
            caller = self._callers.take_main()
            if caller is not None:
                self.main, self._main_host, self._head = caller.connection, caller.host, bytes(caller.head)
                self._uuid = uuid_of(caller.head)
                self._heard_s = time.monotonic()
        return self.main

    def fill(self, link_busy: Callable[[], bool]) -> None:
        """Wait until the thinner has something new to do, or for half a second.

        Call when the thinner needs input; this method gives it main's bytes. While ``link_busy`` is
        true, the link does not wait for these bytes, and they are gathered: a few large batches cost
        less than many small ones, and leave more of the processor to the two QEMUs.

        Raises LinkError or StreamError.
        """
        thinner, main = self._thinner, self.main
        assert main is not None
        self.hand_back()
        if not self._head and not self._poll(main=thinner.wants_main):
            self._check_begun()
            return
        room = thinner.room(self.receive_bytes)
        count = self._take_head(room) if self._head else main.recv_into(room)
        self._heard_s = time.monotonic()
        if not self._feeders and count:
            count += self._gather(main, room[count:], link_busy)
        if not self._mark.reached and self._mark.feed(room[:count]):
            self._choose_channels()
        thinner.received(count)

    def _take_head(self, room: memoryview) -> int:
        """Copy main's first bytes."""
        count = len(self._head)
        room[:count] = self._head
        self._head = b""
        return count

    def _gather(self, main: socket.socket, room: memoryview, link_busy: Callable[[], bool]) -> int:
        more = select.poll()
        more.register(main, select.POLLIN)
        count = 0
        while count < len(room) and link_busy() and more.poll(GATHER_MS):
            got = main.recv_into(room[count:])
            if not got:
                break
            count += got
        return count

    def hand_back(self) -> None:
        """Let the threads of those channels go on whose batch was used."""
        for channel in self._thinner.given_back():
            self._feeders[channel].resume()

    def stop(self) -> None:
        """Shut every socket down, from any thread; a method that waits here raises LinkError."""
        with self._lock:
            self._stopped = True
            if self._closed:
                return
            self._door.shut()
            _shut_down(self.main)
            for feeder in list(self._feeders.values()):
                feeder.stop()
            os.eventfd_write(self._news, 1)

    def end_in_order(self) -> None:
        """Let ``close`` end the source's connections, not break them: it has ended, and has all answers."""
        assert self.main is not None
        end_on_close(self.main)
        for feeder in self._feeders.values():
            feeder.end_in_order()

    def close(self) -> None:
        """End the threads, close every socket and remove a Unix socket's file."""
        self.stop()
        for feeder in self._feeders.values():
            feeder.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for caller in self._callers.all():
                self._callers.take(caller).connection.close()
            self._door.close()
            if self.main is not None:
                self.main.close()
            self._poller.close()
            os.close(self._news)

    def _poll(self, main: bool, timeout_s: float = TICK_S) -> bool:
        """Wait for news and deal with connections; True when main is to be read."""
        self._check()
        if main != self._main_polled and self.main is not None:
            # Clearing EPOLLIN is not enough: the end of a connection is always reported.
            if main:
                self._poller.register(self.main, select.EPOLLIN)
            else:
                self._poller.unregister(self.main)
            self._main_polled = main
        ready = [number for number, _ in self._poller.poll(timeout_s)]
        self._check()
        for number in ready:
            if number == self._news:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._news)
            elif number == self._door.fileno():
                self._callers.accept()
            else:
                self._callers.hear(number)
        if self.main is not None:
            self._callers.refuse_mains()
        now_s = time.monotonic()
        if self._mark.reached and now_s - self._looked_s > LATE_S:
            self._looked_s = now_s
            self._refuse_late()
        elif now_s - self._looked_s > TICK_S:
            self._looked_s = now_s
            self._callers.expire()
        return main and self.main is not None and self.main.fileno() in ready

    def _check(self) -> None:
        for feeder in self._feeders.values():
            if feeder.error is not None:
                raise feeder.error
        if self._stopped:
            raise LinkError(f"stopped listening on {self._door}")

    def _check_begun(self) -> None:
        silent_s = time.monotonic() - self._heard_s
        if not self._mark.reached and silent_s > PREAMBLE_SILENCE_S:
            raise LinkError(
                f"the source QEMU sent nothing for {silent_s:.0f} s before RAM began; migrate again"
            )

    def _choose_channels(self) -> None:
        """Take in the channels; nobody else can belong to this migration from now on."""
        self._door.settle()
        for _ in range(BACKLOG // ACCEPTS_AT_ONCE):
            self._callers.accept()
        self._callers.hear_all()
        began_s = time.monotonic()
        possible = self._possible()
        while self.main is not None and self.main.family != socket.AF_UNIX:
            # What was written to other TCP connections before main's mark may come after it.
            now_s = time.monotonic()
            until_s = max((self._patience(caller, began_s) for caller in possible), default=0.0)
            if now_s >= until_s:
                break
            self._poll(main=False, timeout_s=min(TICK_S, until_s - now_s))
            possible = [caller for caller in self._possible() if caller in possible]
        ready = [caller for caller in self._possible() if caller.opening is Opening.CHANNEL]
        for caller in choose_channels(ready, lambda each: handshake_of(each.head), self._uuid):
            self._join(self._callers.take(caller))
        self._callers.refuse_all()
        self._poller.unregister(self._door)
        self._door.expect_nobody()

    def _possible(self) -> list[Caller]:
        """Return who may be a channel: of main's host and, where both are known, of its guest."""
        return [
            caller
            for caller in self._callers.all()
            if caller.host == self._main_host
            and (
                caller.opening is Opening.UNSURE
                or (
                    caller.opening in (Opening.GREETED, Opening.CHANNEL)
                    and self._uuid in (None, handshake_of(caller.head).uuid)
                )
            )
        ]

    @staticmethod
    def _patience(caller: Caller, mark_s: float) -> float:
        """Return until when to wait for a caller's first packet."""
        match caller.opening:
            case Opening.UNSURE:
                return caller.since_s + SILENT_S
            case Opening.GREETED:
                return mark_s + GREETED_S
            case _:
                return 0.0

    def _join(self, caller: Caller) -> None:
        channel = self._thinner.add_channel()
        feeder = _Feeder(caller.connection, channel, bytes(caller.head), self._share_bytes, self._wake)
        with self._lock:
            self._feeders[channel] = feeder
            if self._stopped:
                feeder.stop()

    def _refuse_late(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            connection = self._door.take()
            if not isinstance(connection, socket.socket):
                return
            host = host_of(connection)
            connection.close()
            self._refused(Caller(connection, host, 0.0, opening=Opening.STRANGER))

    def _refused(self, caller: Caller) -> None:
        self.refused += 1
        if caller.opening is Opening.TLS and "TLS" not in self.warning:
            self.warning = (
                f"refused a TLS connection from {caller.host}: if it is the source QEMU's, set tls-creds to"
                " an empty string there, and let --tls-dir encrypt the link; the relay waits for a plain one"
            )
        elif not self.warning:
            self.warning = f"closed a connection from {caller.host} that is no part of this migration"

    def _share_bytes(self) -> int:
        """How much one channel may receive at once."""
        share = self.receive_bytes // max(1, len(self._feeders))
        return max(MIN_RECEIVE_BYTES, min(CHANNEL_BUFFER_BYTES, share))

    def _wake(self) -> None:
        os.eventfd_write(self._news, 1)


class _Feeder:
    """The thread of one channel; it waits while the thinner has the channel."""

    def __init__(
        self,
        connection: socket.socket,
        channel: Channel,
        head: bytes,
        share_bytes: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self.error: PagethriftError | None = None
        self._connection = connection
        self._channel = channel
        self._head = head
        """what was received already"""
        self._share_bytes = share_bytes
        self._wake = wake
        self._turn = threading.Semaphore(1)
        self._over = False
        self._thread = threads.start("channel", self._feed, self._fail)

    def resume(self) -> None:
        """Give the channel back to the thread."""
        self._turn.release()

    def stop(self) -> None:
        """Shut the socket down and let the thread end."""
        self._over = True
        _shut_down(self._connection)
        self._turn.release()

    def end_in_order(self) -> None:
        """See `Intake.end_in_order`."""
        end_on_close(self._connection)

    def close(self) -> None:
        """Wait for the thread to end and close the socket. Call ``stop`` first."""
        self._thread.join()
        self._connection.close()

    def _feed(self) -> None:
        channel, connection = self._channel, self._connection
        try:
            if not channel.prepare():
                channel.room()[: len(self._head)] = self._head
                channel.received(len(self._head))
            while True:
                self._turn.acquire()
                if self._over:
                    return
                while not channel.prepare():
                    channel.received(connection.recv_into(channel.room(self._share_bytes())))
                self._wake()
        except OSError as error:
            self._fail(LinkError(f"the source QEMU closed {channel.reader.name}: {error.strerror or error}"))

    def _fail(self, error: PagethriftError) -> None:
        self.error = error
        self._wake()


def _shut_down(connection: socket.socket | None) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
