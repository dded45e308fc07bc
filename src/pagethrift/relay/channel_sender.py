"""A compressed channel to the destination: a thread that compresses packets and writes them."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from pagethrift.engine.packing import Job
from pagethrift.errors import LinkError
from pagethrift.model.channels import COMPRESSOR_BPS, QUICK_BPS, SLOWEST_SHARE, WARM_UP_PACKETS
from pagethrift.model.pages import PAGE_BYTES
from pagethrift.relay import threads
from pagethrift.relay.connection import Connection
from pagethrift.relay.writing import WAIT_S, Writing
from pagethrift.stream.encoding.packet import Packet, PacketEncoder

NEWEST_SHARE = 0.2
"""weight of the last packet in the running mean of the compressor's speed"""


class ChannelSender:
    """Owns one connection to the destination. Nothing that is queued may be dropped or sent elsewhere."""

    def __init__(
        self,
        connection: Connection,
        encoder: PacketEncoder,
        writing: Writing,
        taken: Callable[[Packet, int], None],
        measure: Callable[[float, bool], None],
    ) -> None:
        """Take over a connection.

        ``taken`` gets each packet back with the bytes it took; ``measure`` is called with the time and False
        before a packet is written, with True after each write.
        """
        self.synced = 0
        """the number of the last SYNC written"""
        self.waiting = 0
        """packets that wait for the compressor"""
        self.waiting_pages = 0
        """pages in them"""
        self.ready_bytes = 0
        """compressed, and not yet taken by the socket"""
        self.estimated_bytes = 0
        """of the packets that wait"""
        self.pages_per_s = 0.0
        """how fast the compressor has been lately in frames of this kind; 0 while unknown"""
        self._long_pages_per_s = 0.0
        """how fast it was in its last long frame"""
        self._quick = False
        """the last packet's frame"""
        self._packets = 0
        """in it"""
        self.connection = connection
        self._encoder = encoder
        self._writing = writing
        self._taken = taken
        self._measure = measure
        self._work = writing.condition()
        self._queue: deque[Job] = deque()
        self._closing = False
        self._thread = threads.start("channel-out", partial(writing.guard, self._write_all), writing.give_up)

    @property
    def queued_bytes(self) -> int:
        """What the socket has not taken yet, estimated where it is not compressed."""
        return self.ready_bytes + self.estimated_bytes

    @property
    def speed(self) -> float:
        """Pages that the compressor does in a second, a guess until it has worked."""
        return self.pages_per_s or (QUICK_BPS if self._quick else COMPRESSOR_BPS) / PAGE_BYTES

    @property
    def long_speed(self) -> float:
        """Pages that the compressor does in a second of a long frame, whichever it has now."""
        guess = COMPRESSOR_BPS / PAGE_BYTES
        found = self._long_pages_per_s if self._quick else self.pages_per_s
        return max(SLOWEST_SHARE * guess, found or guess)

    @property
    def owed_s(self) -> float:
        """How long compressing what waits will take."""
        return self.waiting_pages / self.speed

    def put(self, job: Job) -> None:
        """Queue a packet or a SYNC. Call with ``Writing.lock`` held."""
        self._queue.append(job)
        self._work.notify()
        if job.packet is not None:
            self.waiting += 1
            self.waiting_pages += job.packet.count
            self.estimated_bytes += job.packet.estimated_bytes

    def finish(self) -> None:
        """Wait until everything is written. The connection stays open: its end would be an error."""
        with self._writing.lock:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def sync(self) -> bytes:
        """Return the bytes of a SYNC."""
        return self._encoder.sync()

    def wait(self, timeout_s: float) -> None:
        """Wait for the thread to end, unless it is the caller's own."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _write_all(self) -> None:
        writing = self._writing
        while True:
            with writing.lock:
                while not self._queue and not self._closing and not writing.error:
                    self._work.wait(WAIT_S)
                if writing.error or not self._queue:
                    return
                job = self._queue.popleft()
            if job.packet is None:
                self._write([self._encoder.sync()])
                with writing.lock:
                    self.synced = job.sync
                    writing.synced.notify()
            else:
                self._write(self._compress(job.packet))

    def _compress(self, packet: Packet) -> list[bytes]:
        began_s, pages, estimated = time.monotonic(), packet.count, packet.estimated_bytes
        pieces = self._encoder.pages(packet)
        speed = pages / max(1e-6, time.monotonic() - began_s)
        if packet.quick != self._quick:
            if packet.quick:
                self._long_pages_per_s = self.pages_per_s
                self.pages_per_s *= QUICK_BPS / COMPRESSOR_BPS
            else:
                self.pages_per_s = self._long_pages_per_s
            self._quick, self._packets = packet.quick, 0
        self._packets += 1
        if self._packets > WARM_UP_PACKETS:
            before = self.pages_per_s or speed
            self.pages_per_s = before + NEWEST_SHARE * (speed - before)
        taken_bytes = sum(map(len, pieces))
        with self._writing.lock:
            self.waiting -= 1
            self.waiting_pages -= pages
            self.estimated_bytes -= estimated
            self.ready_bytes += taken_bytes
            self._writing.room.notify()
        self._taken(packet, taken_bytes)
        return pieces

    def _write(self, pieces: list[bytes]) -> None:
        waiting = deque(memoryview(piece) for piece in pieces)
        self._measure(time.monotonic(), False)
        try:
            self._writing.write(self.connection, waiting, self._wrote, whole=True)
        except (OSError, ValueError) as error:
            raise channel_closed(self._encoder.channel, error) from error

    def _wrote(self, count: int, now_s: float) -> None:
        with self._writing.lock:
            self.ready_bytes = max(0, self.ready_bytes - count)
            self._writing.room.notify()
        self._measure(now_s, True)


def channel_closed(channel: int, error: Exception | None = None, hint: str = "") -> LinkError:
    """Return what to say of a channel that the destination closed, by whichever thread sees it first.

    ``hint``: what closing so early may mean (`Connection.hint`).
    """
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.errno == errno.EPROTO else ""
    return LinkError(
        f"the destination closed multifd channel {channel} before it had all of RAM{why}"
        f"{hint or '; see its log'}, and end that QEMU: it may hang for good"
    )


def compressor_bps(senders: list[ChannelSender]) -> float:
    """Return how many bytes of pages a second the compressors take when they get a processor.

    At least what one processor does: a busy moment, or the first touch of a compressor's memory, would keep
    pages from it for ever, and its speed from being measured again. Quick frames count once they were
    measured: where a link is that fast, the processors are short, and plain pages cost them least.
    """
    return sum(max(COMPRESSOR_BPS, sender.pages_per_s * PAGE_BYTES) for sender in senders)
