"""QEMU's sockets: the main one and, with multifd, a few more, all read at the same time.

QEMU blocks on any of them: a channel that is left unread keeps main's next bytes from being written.
Each channel therefore has a thread, which receives, cuts and signs one batch ahead (kernels release
the GIL) and waits until the thinner has used that batch. The wait bounds the memory: a channel's
thread never holds more than it received at once. The thinner's own thread reads main.

Sockets are told apart by their first four bytes, because their order differs: QEMU 7.2 connects
main first, QEMU 9.0 and later write main's first byte only when every channel is connected.
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
from pagethrift.sockets import listen
from pagethrift.stream.packets import CHANNEL_BUFFER_BYTES
from pagethrift.stream.wire import MAGIC, MULTIFD_MAGIC, TLS_HELLO

SOCKETS_MAX = 512
"""QEMU connects up to 255 channels and main before anybody accepts"""
CHANNELS_MAX = 255
"""parameter multifd-channels has eight bits"""
MIN_RECEIVE_BYTES = 64 << 10
STRANGER_TIMEOUT_S = 10.0
"""a connection whose first bytes have not arrived after this time is closed"""
TICK_S = 0.5
GATHER_MS = 1
"""how long to wait for more bytes while the link is busy; QEMU fills its socket (208 KiB) faster"""


class Intake:
    """Listens for one source and gives what it sends to the thinner.

    ``receive_bytes`` is how much all sockets together may receive ahead; the session keeps it in
    step with the rate of the link.
    """

    def __init__(self, address: Address, thinner: Thinner) -> None:
        self.main: socket.socket | None = None
        self.receive_bytes = MIN_RECEIVE_BYTES
        self._thinner = thinner
        self._address = address
        self._listener = listen(address, SOCKETS_MAX)
        self._listener.setblocking(False)
        self._strangers: dict[socket.socket, float] = {}
        self._feeders: dict[Channel, _Feeder] = {}
        self._stopped = self._closed = False
        self._lock = threading.Lock()
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self._news, select.POLLIN)
        self._poller.register(self._listener, select.POLLIN)
        self._main_polled = False

    def wait_for_main(self) -> socket.socket:
        """Return the main socket once its first bytes are there. Raises LinkError."""
        while self.main is None:
            self._poll(main=False)
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
        if not self._poll(main=thinner.wants_main):
            return
        room = thinner.room(self.receive_bytes)
        count = main.recv_into(room)
        if not self._feeders:
            count += self._gather(main, room[count:], link_busy) if count else 0
        if thinner.joinable:
            # Meet every connection that was made before these bytes were written, and only after that
            # use the bytes: QEMU has connected every channel by the end of RAM's first section.
            self._accept()
            connected = set(self._strangers)
            while connected & self._strangers.keys():
                self._poll(main=False)
        thinner.received(count)

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
            for connection in (self._listener, self.main, *list(self._strangers)):
                _shut_down(connection)
            for feeder in list(self._feeders.values()):
                feeder.stop()
            os.eventfd_write(self._news, 1)

    def close(self) -> None:
        """End the threads and close every socket."""
        self.stop()
        for feeder in self._feeders.values():
            feeder.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for connection in (self._listener, self.main, *self._strangers):
                if connection is not None:
                    connection.close()
            os.close(self._news)

    def _poll(self, main: bool) -> bool:
        """Wait for news and deal with connections; True when main is to be read."""
        self._check()
        if main != self._main_polled and self.main is not None:
            # Clearing POLLIN is not enough: poll always reports the end of a connection.
            if main:
                self._poller.register(self.main, select.POLLIN)
            else:
                self._poller.unregister(self.main)
            self._main_polled = main
        ready = {number for number, _ in self._poller.poll(TICK_S * 1000)}
        self._check()
        if self._news in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._news)
        if self._listener.fileno() in ready:
            self._accept()
        for stranger in list(self._strangers):
            self._meet(stranger)
        return main and self.main is not None and self.main.fileno() in ready

    def _check(self) -> None:
        for feeder in self._feeders.values():
            if feeder.error is not None:
                raise feeder.error
        if self._stopped:
            raise LinkError(f"stopped listening on {self._address}")

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(True)
                self._strangers[connection] = time.monotonic()
                self._poller.register(connection, select.POLLIN)
                self._meet(connection)

    def _meet(self, stranger: socket.socket) -> None:
        """Find out from its first four bytes what a connection is, and take it in or close it."""
        try:
            first = stranger.recv(4, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            first = None
        except OSError:
            first = b""
        if first is None or 0 < len(first) < 4:
            if time.monotonic() - self._strangers[stranger] < STRANGER_TIMEOUT_S:
                time.sleep(0.001 if first else 0)
                return
            first = b""
        del self._strangers[stranger]
        self._poller.unregister(stranger)
        if first == MULTIFD_MAGIC.to_bytes(4, "big"):
            self._join(stranger)
        elif first != MAGIC.to_bytes(4, "big") and not first.startswith(TLS_HELLO):
            stranger.close()  # not QEMU; never passed on, because the destination takes one connection only
        elif self.main is None:
            self.main = stranger
        else:
            stranger.close()
            raise LinkError(
                "QEMU opened a socket that is neither its main one nor a multifd channel:"
                " switch capability postcopy-preempt off at the source"
            )

    def _join(self, connection: socket.socket) -> None:
        thinner = self._thinner
        if not thinner.joinable:
            connection.close()
            raise LinkError("QEMU opened a multifd channel after the beginning of RAM; migrate again")
        if len(self._feeders) >= CHANNELS_MAX:
            connection.close()
            return
        channel = thinner.add_channel()
        self._feeders[channel] = _Feeder(connection, channel, self._share_bytes, self._wake)

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
        share_bytes: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self.error: PagethriftError | None = None
        self._connection = connection
        self._channel = channel
        self._share_bytes = share_bytes
        self._wake = wake
        self._turn = threading.Semaphore(1)
        self._over = False
        self._thread = threading.Thread(target=self._feed, name="channel", daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Give the channel back to the thread."""
        self._turn.release()

    def stop(self) -> None:
        """Shut the socket down and let the thread end."""
        self._over = True
        _shut_down(self._connection)
        self._turn.release()

    def close(self) -> None:
        """Wait for the thread to end and close the socket. Call ``stop`` first."""
        self._thread.join()
        self._connection.close()

    def _feed(self) -> None:
        channel, connection = self._channel, self._connection
        try:
            while True:
                self._turn.acquire()
                if self._over:
                    return
                while not channel.prepare():
                    channel.received(connection.recv_into(channel.room(self._share_bytes())))
                self._wake()
        except PagethriftError as error:
            self._fail(error)
        except OSError as error:
            self._fail(LinkError(f"the source QEMU closed {channel.reader.name}: {error.strerror or error}"))
        except Exception as error:
            self._fail(PagethriftError(f"a fault in the relay: {error!r}"))

    def _fail(self, error: PagethriftError) -> None:
        self.error = error
        self._wake()


def _shut_down(connection: socket.socket | None) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
