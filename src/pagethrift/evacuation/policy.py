"""In which order guests leave, and how many at once: what the model and the real evacuation both ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pagethrift.evacuation.costs import Costs
from pagethrift.evacuation.link import Links, shares

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Leaver:
    """One guest, as a planner sees it."""

    name: str
    destination: str
    costs: Costs
    """at its downtime limit"""
    force_after_s: float | None = None
    """switched over after this time, above its limit if need be; None: never"""
    give_up_after_s: float | None = None
    """broken off after this time; None: never"""
    ram_bytes: float = 0.0
    """its memory, as far as known; managers give up by it"""
    start_s: float = 0.0
    """from its turn until its first byte is on the link"""

    @property
    def most_bps(self) -> float:
        """What it takes of a link that is free; one that never converges takes all there is."""
        return self.costs.fastest_bps if self.costs.points else float("inf")


@dataclass(frozen=True, slots=True)
class Policy:
    """An order and its limits."""

    name: str
    order: tuple[str, ...]
    """all guests; who is first starts first"""
    at_once: int
    """guests that are on their way at the same time"""
    per_destination: int | None = None
    """of these, to the same destination; None: no limit"""
    careful: bool = False
    """a guest starts only if it and all that are on their way still converge with what they then get"""
    patience_s_per_gib: float | None = None
    """a guest is given up after so long for each GiB of its memory, as some managers do; None: it is not"""
    patience_least_gib: float = 1.0

    def give_up_after_s(self, leaver: Leaver) -> float | None:
        """Return after how long a guest is broken off; None: never."""
        if self.patience_s_per_gib is None:
            return leaver.give_up_after_s
        own_s = self.patience_s_per_gib * max(self.patience_least_gib, leaver.ram_bytes / GIB)
        return own_s if leaver.give_up_after_s is None else min(own_s, leaver.give_up_after_s)

    def starts(
        self, waiting: Collection[str], running: Collection[str], guests: Mapping[str, Leaver], links: Links
    ) -> list[str]:
        """Return the guests to start now, in this order."""
        found: list[str] = []
        on_way = list(running)
        for name in (each for each in self.order if each in waiting):
            if len(on_way) >= self.at_once:
                break
            if self._may(name, on_way, guests, links):
                found.append(name)
                on_way.append(name)
        return found

    def _may(self, name: str, on_way: list[str], guests: Mapping[str, Leaver], links: Links) -> bool:
        place = guests[name].destination
        there = sum(guests[each].destination == place for each in on_way)
        if self.per_destination is not None and there >= self.per_destination:
            return False
        if not self.careful or not on_way:
            return True
        if not guests[name].costs.points:  # it would take its share and come to nothing
            return False
        together = [*on_way, name]
        given = shares(links, {each: (guests[each].destination, guests[each].most_bps) for each in together})
        return all(guests[each].costs.at(given[each]) is not None for each in together)
