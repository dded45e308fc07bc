"""A virtual link: how many virtual seconds bytes take."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from pagethrift.errors import UsageError
from pagethrift.model.defaults import RATE_WINDOW_S


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The rate and delay of a link."""

    bandwidth_bps: float
    """bytes per second at the beginning"""
    delay_s: float = 0.0
    """in each direction"""
    steps: tuple[tuple[float, float], ...] = ()
    """(seconds since the beginning, bytes per second from that time on), in order"""

    def check(self) -> None:
        """Raise UsageError for an impossible link."""
        times = [0.0, *(at for at, _ in self.steps)]
        if self.bandwidth_bps <= 0 or any(rate < 0 for _, rate in self.steps) or self.delay_s < 0:
            raise UsageError("a link's bandwidth must be positive, and its delay must not be negative")
        if times != sorted(times):
            raise UsageError("the steps of a link's bandwidth must be in the order of their times")
        if self.steps and self.steps[-1][1] <= 0:
            raise UsageError("the last step of a link's bandwidth must be positive, or nothing could end")


class VirtualLink:
    """A queue of bytes that leave at the link's rate of the time."""

    def __init__(self, spec: LinkSpec) -> None:
        spec.check()
        self.spec = spec
        self.free_s = 0.0
        """when all bytes queued so far have left"""
        self.sent_bytes = 0
        """bytes queued so far"""
        self._times = [0.0, *(at for at, _ in spec.steps)]
        self._rates = [float(spec.bandwidth_bps), *(float(rate) for _, rate in spec.steps)]
        self._passed = [0.0]
        for i in range(1, len(self._times)):
            span = self._times[i] - self._times[i - 1]
            self._passed.append(self._passed[-1] + span * self._rates[i - 1])

    def send(self, size_bytes: float, now_s: float) -> float:
        """Queue bytes; return the time when the last of them has left the source."""
        begin_s = max(now_s, self.free_s)
        self.free_s = begin_s + self.seconds(size_bytes, begin_s)
        self.sent_bytes += int(size_bytes)
        return self.free_s

    def seconds(self, size_bytes: float, begin_s: float) -> float:
        """Return how long these bytes take from a time on."""
        if len(self._times) == 1:
            return size_bytes / self._rates[0]
        return self._when(self._capacity(begin_s) + size_bytes, begin_s) - begin_s

    def unsent_bytes(self, now_s: float) -> int:
        """Return the queued bytes that have not left."""
        if self.free_s <= now_s:
            return 0
        return int(self._capacity(self.free_s) - self._capacity(now_s))

    def rate_bps(self, now_s: float) -> float:
        """Return the rate as a relay measures it: over the last 0.2 s."""
        if len(self._times) == 1:
            return self._rates[0]
        since_s = max(0.0, now_s - RATE_WINDOW_S)
        if now_s <= since_s:
            return self._rates[0]
        return (self._capacity(now_s) - self._capacity(since_s)) / (now_s - since_s)

    def _capacity(self, at_s: float) -> float:
        """Bytes that could have passed since the beginning."""
        i = bisect_right(self._times, at_s) - 1
        return self._passed[i] + (at_s - self._times[i]) * self._rates[i]

    def _when(self, capacity: float, not_before_s: float) -> float:
        i = max(0, bisect_right(self._times, not_before_s) - 1)
        while i + 1 < len(self._times) and self._passed[i + 1] < capacity:
            i += 1
        return (
            self._times[i] + (capacity - self._passed[i]) / self._rates[i]
            if self._rates[i]
            else (self._times[i + 1])
        )
