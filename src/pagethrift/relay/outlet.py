"""The outlet: sends what the thinner made, bounded in seconds of link.

QEMU judges the bandwidth by how fast the relay reads. What the relay has read and not
yet sent must therefore stay small: its own queues and the sockets' unsent bytes together.
The kernel's send buffer would grow to megabytes by itself; TCP_NOTSENT_LOWAT bounds it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from pagethrift.engine.output import Output
from pagethrift.engine.packing import Job
from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.channels import BACKLOG_PACKETS, BACKLOG_S, HUNGRY_SHARE, PATIENT_SHARE
from pagethrift.model.defaults import RATE_WINDOW_S, RELAY_BUFFER_S
from pagethrift.relay import threads
from pagethrift.relay.channel_sender import ChannelSender, compressor_bps
from pagethrift.relay.connection import Connection
from pagethrift.relay.pace import Pace
from pagethrift.relay.rate import LinkRate
from pagethrift.relay.writing import GRACE_S, WAIT_S, Writing
from pagethrift.stream.encoding.packet import Packet, PacketEncoder

BUFFERS = 4
"""outputs in the pool: one being filled, one being sent, two queued"""
BUSY_BYTES = 256 << 10
"""1 ms of a link of 2 Gbit/s"""
FRESH_S = 5.0
"""how long a rate is believed after the link was last seen full"""
EXPLORE_S = 2 * RATE_WINDOW_S
"""how long a link gets plain pages to show that it can be full; most take a short window or two"""
FIRST_LOOK_SHARE = 0.5
"""of the compressors' speed: a link that looked faster than that at first is measured for a whole window"""
KERNEL_S = 0.02
"""how often a look is taken at what only the kernel has: nobody tells when it becomes less"""


class Outlet:
    """Owns the connections to the destination, and the threads that write to them."""

    def __init__(
        self,
        main: Connection,
        stall_timeout_s: float,
        on_error: Callable[[PagethriftError], None],
        bandwidth_bps: float = 0.0,
        channels: Sequence[tuple[Connection, PacketEncoder]] = (),
        taken: Callable[[Packet, int], None] = lambda packet, taken_bytes: None,
        may_send_plain: bool = True,
        pace: Pace | None = None,
    ) -> None:
        """Take over connections; ``on_error`` is called once, from a writing thread.

        ``channels``: compressed channels; ``taken`` gets each packet back with the bytes it took.
        ``may_send_plain`` False: pages are compressed even where the link then runs dry. ``pace``: a cap.
        """
        self._main = main
        self._connections = [main, *(connection for connection, _ in channels)]
        self.rate = LinkRate(self._connections, time.monotonic(), bandwidth_bps)
        self._writing = Writing(stall_timeout_s, on_error, pace)
        self._lock = self._writing.lock
        self._work = self._writing.condition()
        self._may_send_plain = may_send_plain
        self._queue: deque[Output] = deque()
        self._pool: deque[Output] = deque(Output() for _ in range(BUFFERS))
        self._queued_bytes = 0
        self._closing = False
        self._acknowledged = (time.monotonic(), 0)
        self.rate.bound_sockets()
        self.rate.capped(self._writing.pace.bps, time.monotonic())
        self._rate_lock = threading.Lock()
        self._explored_s = self._exploring_until_s = 0.0
        """when the last exploration began, and when it ends at the latest"""
        self._going = False
        self.channels = [
            ChannelSender(connection, encoder, self._writing, taken, self._measure)
            for connection, encoder in channels
        ]
        write_all = partial(self._writing.guard, self._write_all)
        self._thread = threads.start("link", write_all, self._writing.give_up)

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the sockets."""
        return sum(connection.sent_bytes for connection in self._connections)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that are not on the link yet: in the queues, estimated or compressed, and in the sockets."""
        waiting = sum(channel.estimated_bytes for channel in self.channels)
        return waiting + self._made_bytes()

    def busy(self) -> bool:
        """Whether a fast link has enough to send for a while.

        What intake gathers meanwhile is in no counter. On a slow link it would be missing from the
        predicted downtime; besides, the hosts of a slow link have time to spare.
        """
        return self.rate.fast and self.unsent_bytes >= BUSY_BYTES

    def compressing(self) -> bool:
        """Whether pages that may travel either way are to be compressed.

        They are not while the link would run dry before the compressor catches up, on a link that carries
        pages faster than the compressors take them, and until the rate is known.
        A link that only a compressor feeds looks no faster than the compressor: one that runs dry and was
        not seen full lately gets plain pages until it was measured. Nor are they while the compressors have
        enough for BACKLOG_S: what waits for them takes time that no byte on the link tells of.
        """
        if not self._may_send_plain:
            return True
        now_s = time.monotonic()
        if not self.rate.known or (now_s < self._exploring_until_s and self.rate.full_s < self._explored_s):
            return False
        if self._behind():
            if not self._going and now_s - self.rate.full_s > FRESH_S:
                self._explored_s, self._exploring_until_s = now_s, now_s + EXPLORE_S
                with self._rate_lock:
                    self.rate.explore(now_s, self._exploring_until_s)
            return False
        if max(channel.owed_s for channel in self.channels) > BACKLOG_S:
            return False
        speed_bps = compressor_bps(self.channels)
        # a first look takes a fast link for a slower one
        return self.rate.bps <= (speed_bps if self.rate.full_s else FIRST_LOOK_SHARE * speed_bps)

    @property
    def compressor_pages_per_s(self) -> float:
        """How many pages can be compressed where every page has to be; else 0."""
        return 0.0 if self._may_send_plain else sum(channel.speed for channel in self.channels)

    @property
    def long_pages_per_s(self) -> float:
        """How many pages the compressors manage with the whole window."""
        return sum(channel.long_speed for channel in self.channels)

    def cap(self, bps: float) -> None:
        """Put no more than this on the link from now on, in bytes per second; 0: no limit."""
        self._writing.pace.set(bps)
        with self._rate_lock, contextlib.suppress(OSError):  # the connections may be closed by now
            self.rate.capped(bps, time.monotonic())

    def go(self) -> None:
        """Measure no more than is needed: the switchover is decided, and every byte counts."""
        self._going, self._exploring_until_s = True, 0.0

    def drained(self, number: int) -> bool:
        """Whether the destination has everything that was written to a channel."""
        channel = self.channels[number]
        return not channel.queued_bytes and not channel.connection.unacknowledged_bytes()

    def take(self) -> Output:
        """Return an empty output, once what is unsent is within the bound. Raises LinkError."""
        with self._lock:
            while not self._pool or self._full():
                self._writing.check()
                self._writing.room.wait(WAIT_S if self._waiting() else KERNEL_S)
            self._writing.check()
            output = self._pool.popleft()
        output.clear()
        return output

    def put(self, output: Output, jobs: Sequence[Job] = ()) -> None:
        """Queue an output for sending; an empty one goes straight back into the pool.

        ``jobs``: what goes over the channels before the marks in the output.
        """
        with self._lock:
            for job in jobs:
                self.channels[job.channel].put(job)
            if output.total_bytes:
                self._queue.append(output)
                self._queued_bytes += output.total_bytes
                self._work.notify()
            else:
                self._pool.append(output)

    def finish(self) -> None:
        """Wait until everything is written; tell the destination that no more comes. Raises LinkError."""
        with self._lock:
            self._closing = True
            self._work.notify()
        self._thread.join()
        for channel in self.channels:
            channel.finish()
        self._writing.check()
        self._main.finish()

    def sync_at_once(self) -> None:
        """Write a SYNC to every channel, before anything else was; a failure does not matter any more."""
        for channel in self.channels:
            with contextlib.suppress(LinkError):
                channel.connection.write_all(channel.sync(), GRACE_S)

    def abandon(self) -> None:
        """Stop writing, and close the connections; a packet that has been begun is written to its end."""
        self._writing.give_up(LinkError("the link was given up"))
        until_s = time.monotonic() + GRACE_S
        for channel in self.channels:
            channel.wait(max(0.0, until_s - time.monotonic()))
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def _full(self) -> bool:
        bound_bytes = self.rate.bound_bytes
        if self._queued_bytes > bound_bytes // 2:
            return True
        if not self.channels:
            return False
        if max(channel.owed_s for channel in self.channels) > RELAY_BUFFER_S:
            return True
        return self.unsent_bytes > bound_bytes and not (self._may_send_plain and self._behind())

    def _waiting(self) -> bool:
        """Whether something waits that a writer will tell of when it has gone."""
        return bool(self._queue) or any(channel.queued_bytes for channel in self.channels)

    def _behind(self) -> bool:
        """Whether the compressor cannot feed the link."""
        if max((channel.waiting for channel in self.channels), default=0) < BACKLOG_PACKETS:
            return False
        share = HUNGRY_SHARE if self.rate.fast else PATIENT_SHARE
        return self._made_bytes() < share * self.rate.bound_bytes

    def _made_bytes(self) -> int:
        ready = self._queued_bytes + sum(channel.ready_bytes for channel in self.channels)
        return ready + sum(connection.unsent_bytes() for connection in self._connections)

    def _write_all(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    if self._closing or self._writing.error:
                        return
                    self._work.wait(WAIT_S)
                    self._check_acknowledged(time.monotonic())
                output = self._queue[0]
            self._measure(time.monotonic(), False)
            for sync, pieces in output.parts():
                self._wait_for_sync(sync)
                self._writing.write(self._main, pieces, self._wrote)
            with self._lock:
                self._queue.popleft()
                self._pool.append(output)
                self._writing.room.notify()

    def _wait_for_sync(self, number: int) -> None:
        """Wait until every channel has written a SYNC: the destination waits for them at main's mark."""
        with self._lock:
            while any(channel.synced < number for channel in self.channels):
                self._writing.check()
                self._writing.synced.wait(WAIT_S)

    def _wrote(self, count: int, now_s: float) -> None:
        with self._lock:
            self._queued_bytes -= count
            self._writing.room.notify()
        self._measure(now_s, True)

    def _measure(self, now_s: float, wrote: bool) -> None:
        """Look at the rate, before a writer goes on and after it ``wrote``: bytes waited for the link."""
        paced = self._writing.pace.busy
        with self._rate_lock:
            busy = wrote or paced or any(each.unsent_bytes() for each in self._connections)
            self.rate.measure(now_s, busy, paced)

    def _check_acknowledged(self, now_s: float) -> None:
        """Raise LinkError when the destination takes nothing, even if the sockets took everything.

        All of the device state may fit into a send buffer.
        """
        since_s, left_before = self._acknowledged
        left = sum(connection.unacknowledged_bytes() for connection in self._connections)
        if left == 0 or left != left_before:
            self._acknowledged = (now_s, left)
        else:
            self._writing.check_stall(now_s, since_s)
