"""When each guest is out, in a fluid model of the links.

A guest that gets bandwidth b for t seconds has done t / T(b) of its migration, where T is its total time at
b. It is out when the parts add up to one. Where it would not converge at b it gets no further, and takes
its share all the same, as a migration does that goes round and round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pagethrift.evacuation.link import Links, shares
from pagethrift.evacuation.policy import Leaver, Policy

DONE = 1 - 1e-9
ROUNDING_S = 1e-9


@dataclass(frozen=True, slots=True)
class Leaving:
    """One guest's way out; times are seconds from the beginning of the evacuation."""

    name: str
    begins_s: float
    """infinite: its turn never comes"""
    out_s: float
    """infinite: it does not get out"""
    downtime_s: float
    """infinite: forced, and nobody knows"""
    bytes: float
    """on the link"""
    forced: bool = False
    """switched over above its downtime limit"""
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Timetable:
    """What one policy comes to."""

    policy: Policy
    leavings: tuple[Leaving, ...]
    """in the order in which they begin"""
    most_bps: float = 0.0
    """the most that was on the host's link"""

    @property
    def last_out_s(self) -> float:
        """When the last guest is out that gets out; 0 if none does."""
        return max((each.out_s for each in self.leavings if math.isfinite(each.out_s)), default=0.0)

    @property
    def bytes(self) -> float:
        """On the host's link, of all."""
        return sum(each.bytes for each in self.leavings)

    def late(self, deadline_s: float) -> tuple[str, ...]:
        """Return the guests that are not out by the deadline."""
        return tuple(each.name for each in self.leavings if each.out_s > deadline_s)

    def of(self, name: str) -> Leaving:
        """Return one guest's way."""
        return next(each for each in self.leavings if each.name == name)


@dataclass(slots=True)
class _OnWay:
    leaver: Leaver
    began_s: float
    give_up_after_s: float | None
    done: float = 0.0
    bytes: float = 0.0
    downtime_s: float = 0.0

    def starts(self, now_s: float) -> bool:
        """Whether nothing of it is on the link yet."""
        return now_s < self._sends_s - ROUNDING_S

    @property
    def _sends_s(self) -> float:
        return self.began_s + self.leaver.start_s

    def next_event_s(self, now_s: float, bps: float) -> float:
        """Return when it sends its first byte, or is out, forced or given up at this bandwidth."""
        if self.starts(now_s):
            return self._sends_s
        leaver, estimate = self.leaver, self.leaver.costs.at(bps)
        ends = [math.inf]
        if estimate is not None:
            ends.append(now_s + (1 - self.done) * estimate.total_s.median)
        ends += [
            self._sends_s + after
            for after in (leaver.force_after_s, self.give_up_after_s)
            if after is not None
        ]
        return min(ends)

    def go_on(self, now_s: float, seconds: float, bps: float) -> None:
        """Take in that it had this bandwidth for so long from now on."""
        if self.starts(now_s):
            return
        estimate = self.leaver.costs.at(bps)
        if estimate is None:
            self.bytes += bps * seconds if math.isfinite(bps) else 0.0
            self.downtime_s = math.inf
            return
        part = seconds / estimate.total_s.median
        self.done += part
        self.bytes += part * estimate.bytes.median
        self.downtime_s = estimate.downtime_s.median

    def ended(self, now_s: float) -> Leaving | None:
        """Return its way if it is over."""
        leaver, took_s = self.leaver, now_s - self._sends_s
        if self.done >= DONE:
            return Leaving(leaver.name, self.began_s, now_s, self.downtime_s, self.bytes)
        if leaver.force_after_s is not None and took_s >= leaver.force_after_s * DONE:
            return Leaving(leaver.name, self.began_s, now_s, self.downtime_s, self.bytes, forced=True)
        if self.give_up_after_s is not None and took_s >= self.give_up_after_s * DONE:
            return Leaving(leaver.name, self.began_s, math.inf, 0.0, self.bytes, gave_up=True)
        return None


def timetable(policy: Policy, guests: Mapping[str, Leaver], links: Links) -> Timetable:
    """Let all guests leave by a policy, and say when each is out."""
    waiting, on_way, left, now_s, most_bps = list(guests), dict[str, _OnWay](), list[Leaving](), 0.0, 0.0
    while True:
        for name in policy.starts(waiting, on_way, guests, links):
            waiting.remove(name)
            on_way[name] = _OnWay(guests[name], now_s, policy.give_up_after_s(guests[name]))
        if not on_way:
            break
        wanted = {
            name: (each.leaver.destination, 0.0 if each.starts(now_s) else each.leaver.most_bps)
            for name, each in on_way.items()
        }
        given = shares(links, wanted)
        most_bps = max(most_bps, sum(given.values()))
        then_s = min(each.next_event_s(now_s, given[name]) for name, each in on_way.items())
        if not math.isfinite(then_s):
            break  # all that are on their way go round and round for ever
        for name, each in on_way.items():
            each.go_on(now_s, then_s - now_s, given[name])
        now_s = then_s
        for name, leaving in _over(on_way.items(), now_s):
            left.append(leaving)
            del on_way[name]
    left += [Leaving(name, each.began_s, math.inf, 0.0, each.bytes) for name, each in on_way.items()]
    left += [Leaving(name, math.inf, math.inf, 0.0, 0.0) for name in waiting]
    return Timetable(policy, tuple(sorted(left, key=lambda each: each.begins_s)), most_bps)


def _over(on_way: Iterable[tuple[str, _OnWay]], now_s: float) -> list[tuple[str, Leaving]]:
    return [(name, leaving) for name, each in on_way if (leaving := each.ended(now_s)) is not None]
