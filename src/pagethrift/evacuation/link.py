"""How guests that leave at the same time share the host's link and those of the destinations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Links:
    """Bandwidths in bytes per second."""

    host_bps: float
    """of the host that is emptied"""
    destinations: Mapping[str, float]
    """of each destination"""

    def best_bps(self, destination: str) -> float:
        """Return what one guest alone gets to a destination."""
        return min(self.host_bps, self.destinations[destination])


def shares(links: Links, wanted: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    """Return what each gets of the links, as TCP shares them: equal parts, and what one leaves goes to the
    others.

    ``wanted``: guest -> its destination, and the most that it can use in bytes per second.
    """
    given = dict.fromkeys(wanted, 0.0)
    open_ = {name for name, (_, most) in wanted.items() if most > 0}
    while open_:
        rooms = [_room(links.host_bps, given.values(), len(open_))]
        for place, bps in links.destinations.items():
            there = [name for name, (destination, _) in wanted.items() if destination == place]
            still = len(open_.intersection(there))
            if still:
                rooms.append(_room(bps, (given[name] for name in there), still))
        more = min(*rooms, min(wanted[name][1] - given[name] for name in open_))
        for name in open_:
            given[name] += more
        open_ = {name for name in open_ if not _full(links, wanted, given, name)}
    return given


def _room(bps: float, given: object, among: int) -> float:
    return max(0.0, bps - sum(given)) / among  # type: ignore[call-overload, no-any-return]


def _full(
    links: Links, wanted: Mapping[str, tuple[str, float]], given: Mapping[str, float], name: str
) -> bool:
    place, most = wanted[name]
    there = sum(each for other, each in given.items() if wanted[other][0] == place)
    return (
        given[name] >= most * (1 - ROUNDING)
        or sum(given.values()) >= links.host_bps * (1 - ROUNDING)
        or there >= links.destinations[place] * (1 - ROUNDING)
    )
