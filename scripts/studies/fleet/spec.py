"""What the study assumes, read from TOML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.given_file import read_toml
from pagethrift.units import parse_bandwidth, parse_seconds

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Manager:
    """How many migrations a manager runs at a time, and when it gives one up. 0: no limit."""

    name: str
    a_host: int
    """migrations out of one host"""
    a_group: int
    """migrations of a whole group of hosts"""
    timeout_a_gib: float
    """seconds for each GiB of the guest's memory"""
    least_gib: float
    """a smaller guest counts as so large"""
    timeout: float
    """seconds for any guest, on top"""
    stall: float
    """seconds without progress, which begin after one pass over the memory"""


@dataclass(frozen=True, slots=True)
class Spec:
    """All assumptions of a run."""

    seed: int
    group: int
    host_memory: float
    """GiB"""
    hosts_at_once: int
    downtime_limit_s: float
    links: tuple[str, ...]
    payload: float
    sizes: tuple[tuple[float, int], ...]
    """(GiB, how many guests of the data have it)"""
    concentration: float
    classes: tuple[tuple[str, float], ...]
    """(trace, expected share)"""
    used: tuple[float, float]
    exponents: tuple[float, ...]
    paces: tuple[float, ...]
    pace_shares: tuple[float, ...]
    used_gib: tuple[float, ...]
    speeds: tuple[float, ...]
    migrations: tuple[int, ...]
    passes: float
    managers: tuple[Manager, ...]

    def link_bps(self, link: int) -> float:
        """Return the bytes a second of a link that are not headers."""
        return parse_bandwidth(self.links[link]) * self.payload


def read(path: Path) -> Spec:
    """Read the assumptions. Raises UsageError."""
    data = read_toml(path)
    try:
        spec = _spec(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: broken specification ({error!r}); compare it with studies/fleet.toml"
        ) from error
    largest = max(size for size, _ in spec.sizes)
    if largest > spec.host_memory:
        raise UsageError(f"{path}: a guest of {largest:g} GiB fits no host of {spec.host_memory:g} GiB")
    if any(not (manager.timeout or manager.timeout_a_gib) for manager in spec.managers):
        raise UsageError(f"{path}: a manager without a timeout never ends; give timeout or timeout_a_gib")
    return spec


def _spec(data: dict[str, Any]) -> Spec:
    classes, scaling, table = data["classes"], data["scaling"], data["table"]
    return Spec(
        seed=int(data["seed"]),
        group=int(data["group"]),
        host_memory=float(data["host_memory"]),
        hosts_at_once=int(data["hosts_at_once"]),
        downtime_limit_s=parse_seconds(data["downtime_limit"]),
        links=tuple(data["links"]),
        payload=float(data["payload"]),
        sizes=tuple((float(size), int(count)) for size, count in data["sizes"].items()),
        concentration=float(classes["concentration"]),
        classes=tuple((str(name), float(share)) for name, share in classes["shares"].items()),
        used=(float(scaling["used"][0]), float(scaling["used"][1])),
        exponents=tuple(map(float, scaling["exponents"])),
        paces=tuple(map(float, scaling["paces"])),
        pace_shares=tuple(map(float, scaling["pace_shares"])),
        used_gib=tuple(map(float, table["used_gib"])),
        speeds=tuple(map(float, table["speeds"])),
        migrations=tuple(map(int, table["migrations"])),
        passes=float(table["passes"]),
        managers=tuple(Manager(**each) for each in data["managers"]),
    )
