"""What all writers to one destination share: the first error, and how long nothing at all has moved."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from pagethrift.errors import LinkError, PagethriftError
from pagethrift.model.error_data import unexpected
from pagethrift.relay.connection import Connection
from pagethrift.relay.pace import Pace

POLL_S = 0.2
PACE_S = 0.05
"""how long a capped writer sleeps at most before it looks again: for errors, and at a cap that was changed"""
WAIT_S = 0.5
GRACE_S = 1.0
"""how long a packet that has been begun may take after the end; 512 KiB at 4 Mbit/s"""


class Writing:
    """Guards the queues of all writers by one ``lock``; whoever waits has a condition of its own."""

    def __init__(
        self, stall_timeout_s: float, on_error: Callable[[PagethriftError], None], pace: Pace | None = None
    ) -> None:
        """``on_error`` is called once, from the writer that failed. ``pace``: the cap for all of them."""
        self._conditions: list[threading.Condition] = []
        self.lock = threading.Lock()
        self.room = self.condition()
        """a queue has become shorter"""
        self.synced = self.condition()
        """a channel has written a SYNC"""
        self.error: PagethriftError | None = None
        self.pace = pace or Pace()
        self._on_error = on_error
        self._stall_timeout_s = stall_timeout_s
        self._progress_s = time.monotonic()

    def condition(self) -> threading.Condition:
        """Return a condition over ``lock``, which an error notifies too."""
        self._conditions.append(threading.Condition(self.lock))
        return self._conditions[-1]

    def check(self) -> None:
        """Raise the error if one of the writers has failed."""
        if self.error is not None:
            raise self.error

    def give_up(self, error: PagethriftError) -> bool:
        """Let all writers end; False if they end already."""
        with self.lock:
            first = self.error is None
            self.error = self.error or error
            for condition in self._conditions:
                condition.notify_all()
        return first

    def guard(self, write_all: Callable[[], None]) -> None:
        """Run a writer; what it raises ends the others and is reported, if it is the first."""
        try:
            write_all()
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            self._fail(LinkError(f"the destination closed the link: {said}"))
        except Exception as error:
            self._fail(unexpected(error))

    def _fail(self, error: PagethriftError) -> None:
        if self.give_up(error):  # the others fail with the same error, and need not say so
            self._on_error(error)

    def write(
        self,
        connection: Connection,
        pieces: deque[memoryview],
        wrote: Callable[[int, float], None],
        whole: bool = False,
    ) -> None:
        """Write all of ``pieces``; ``wrote`` gets the bytes of each write and its time.

        ``whole``: after another writer's error, or when the link was given up, GRACE_S is left to write the
        rest: a destination that gets half of a packet hangs. Raises OSError or LinkError.
        """
        self._progress_s = max(self._progress_s, time.monotonic() - POLL_S)
        until_s: float | None = None
        while pieces:
            if whole and self.error is not None:
                until_s = until_s or time.monotonic() + GRACE_S
            if until_s is None or time.monotonic() > until_s:
                self.check()
            now_s = time.monotonic()
            if self.error is None and (delay_s := self.pace.delay_s(now_s)):
                self._progress_s = now_s  # nothing was offered to the destination
                time.sleep(min(delay_s, PACE_S))
                continue
            writable = connection.wait_writable(POLL_S)
            now_s = time.monotonic()
            if not writable:
                self.check_stall(now_s, self._progress_s)
                continue
            count = connection.write(pieces)
            if count:
                self._progress_s = now_s
                self.pace.wrote(count, now_s)
                wrote(count, now_s)

    def check_stall(self, now_s: float, since_s: float) -> None:
        """Raise LinkError when the destination has taken nothing since ``since_s``, which is too long."""
        if now_s - since_s > self._stall_timeout_s:
            raise LinkError(f"the destination has taken nothing for {self._stall_timeout_s:.0f} s")
