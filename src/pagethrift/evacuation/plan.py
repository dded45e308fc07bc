"""The plan of an evacuation, as its TOML file says it, checked before anything is asked or moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pagethrift.address import check_incoming_uri, parse_address, parse_qmp_path
from pagethrift.errors import UsageError
from pagethrift.evacuation.link import Links
from pagethrift.model.defaults import DOWNTIME_LIMIT_S, SOURCE_URI
from pagethrift.toml_table import TomlTable
from pagethrift.units import parse_bandwidth, parse_seconds, parse_size

MOST_GUESTS = 1000
AT_ONCE = 2
"""as KubeVirt's default for one node"""
WATCH_S = 20.0
START_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
OURS = (
    "--qmp", "--to", "--destination-qmp", "--incoming", "--connect", "--json", "--out", "--id", "--check",
    "--downtime-limit", "--force-after", "--timeout", "--wait-for-go", "--help",
)  # fmt: skip
"""options that the plan has keys for, or that would break the evacuation"""


class AtDeadline(StrEnum):
    """What happens at the deadline with guests that are still on their way."""

    GO_ON = "go on"
    """they leave late"""
    CANCEL = "cancel"
    """they are broken off and run on at the source, and none is started any more"""


@dataclass(frozen=True, slots=True)
class When:
    """A time: so many seconds after the beginning, or on the clock."""

    after_s: float | None = None
    at_unix_s: float | None = None

    def unix_s(self, began_unix_s: float) -> float:
        """Return it on the clock."""
        return self.at_unix_s if self.at_unix_s is not None else began_unix_s + (self.after_s or 0.0)


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest, by QMP (``qmp`` and ``to``) or by libvirt (``domain`` and ``desturi``)."""

    name: str
    destination: str
    qmp: str = ""
    to: str = ""
    destination_qmp: str = ""
    incoming: str = ""
    domain: str = ""
    desturi: str = ""
    connect: str = SOURCE_URI
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    force_after_s: float | None = None
    give_up_after_s: float | None = None
    options: tuple[str, ...] | None = None
    """more options of migrate; None: those of the forecast's mode"""
    forecast: Path | None = None
    """a file of pagethrift forecast; None: by ``memory_bytes`` and ``dirty_bps``, or made when needed"""
    mode: str = ""
    """of the forecast; empty: the recommended one"""
    memory_bytes: int | None = None
    dirty_bps: int | None = None
    prestage: bool = True

    @property
    def known(self) -> bool:
        """Whether the plan says what its migration costs, so that nobody has to watch it."""
        return self.forecast is not None or self.memory_bytes is not None

    @property
    def by_libvirt(self) -> bool:
        """Whether libvirt migrates it."""
        return bool(self.domain)


@dataclass(frozen=True, slots=True)
class Prestage:
    """Bringing guests over before the time at which they may switch over."""

    bandwidth_bps: int
    switch: When | None
    """None: when an operator says so (pagethrift evacuate PLAN --go)"""


@dataclass(frozen=True, slots=True)
class Plan:
    """One host that is to be emptied."""

    guests: tuple[Guest, ...]
    links: Links
    deadline: When
    concurrency: int = AT_ONCE
    at_deadline: AtDeadline = AtDeadline.GO_ON
    prestage: Prestage | None = None
    start_s: float = START_S
    """from the start of a migration's process until its first byte is on the link"""
    watch_s: float = WATCH_S
    """how long a guest is watched for a forecast, where none is given"""


def read_plan(data: Mapping[str, Any]) -> Plan:
    """Return the plan of parsed TOML. Raises UsageError, in one line that names the key."""
    table = TomlTable(data)
    host_bps = _needed(table, "bandwidth", parse_bandwidth)
    deadline = _needed(table, "deadline", parse_when)
    concurrency = table.count("concurrency", AT_ONCE, 1, MOST_GUESTS)
    limit_s = _positive(table, "downtime_limit", DOWNTIME_LIMIT_S)
    watch_s, start_s = _positive(table, "watch", WATCH_S), _positive(table, "start", START_S)
    at_deadline = table.get("at_deadline", str, AtDeadline.GO_ON.value)
    if at_deadline not in list(AtDeadline):
        raise UsageError(f"at_deadline is {at_deadline!r}; choose one of {', '.join(AtDeadline)}")
    places = _destinations(table.tables("destination"), host_bps)
    guests = tuple(_guest(each, places, limit_s, number) for number, each in enumerate(table.tables("guest")))
    prestage = _prestage(table.table("prestage")) if "prestage" in table.rest else None
    table.refuse_rest()
    _check_guests(guests, prestage)
    return Plan(
        guests,
        Links(float(host_bps), places),
        deadline,
        concurrency,
        AtDeadline(at_deadline),
        prestage,
        start_s,
        watch_s,
    )


def parse_when(text: str) -> When:
    """Return ``20min`` as a time after the beginning, ``2026-12-01T22:00:00Z`` as one on the clock.

    A time without a zone is local. Raises UsageError.
    """
    try:
        return When(at_unix_s=datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        pass
    try:
        seconds = parse_seconds(text)
    except UsageError as error:
        raise UsageError(f"{text!r} is no time; write 20min, or 2026-12-01T22:00:00Z") from error
    if not seconds > 0:
        raise UsageError(f"{text!r} is no time to come")
    return When(after_s=seconds)


def _needed(table: TomlTable, key: str, parse: Callable[[str], Any]) -> Any:
    if key not in table.rest:
        raise UsageError(f"{key} is missing")
    return table.quantity(key, parse, None)


def _positive(table: TomlTable, key: str, default: Any) -> Any:
    """Take a duration above zero. Raises UsageError."""

    def parse(text: str) -> float:
        seconds = parse_seconds(text)
        if not seconds > 0:
            raise UsageError(f"{text!r} must be more than 0")
        return seconds

    return table.quantity(key, parse, default)


def _destinations(tables: list[TomlTable], host_bps: int) -> dict[str, float]:
    """Return the bandwidth to each destination; without any there is one, with the host's."""
    found: dict[str, float] = {}
    for number, table in enumerate(tables):
        name = _name(table, f"destination[{number}]")
        if name in found:
            raise UsageError(f"destination[{number}].name: there are two of the name {name!r}")
        found[name] = float(table.quantity("bandwidth", parse_bandwidth, host_bps))
        table.refuse_rest()
    return found or {"": float(host_bps)}


def _name(table: TomlTable, where: str) -> str:
    name = table.get("name", str, "")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}.name is {name!r}; write up to 48 letters, digits and . _ -")
    return name


def _guest(table: TomlTable, places: Mapping[str, float], limit_s: float, number: int) -> Guest:
    where = f"guest[{number}]"
    name = _name(table, where)
    destination = table.get("destination", str, next(iter(places)) if len(places) == 1 else "")
    if destination not in places:
        known = ", ".join(filter(None, places)) or "none is declared"
        raise UsageError(f"{where}.destination is {destination!r}; choose one of: {known}")
    texts = {
        key: table.get(key, str, "")
        for key in ("qmp", "to", "destination_qmp", "incoming", "domain", "desturi", "mode")
    }
    options = tuple(table.texts("options", [])) if "options" in table.rest else None
    guest = Guest(
        name=name,
        destination=destination,
        connect=table.get("connect", str, SOURCE_URI),
        downtime_limit_s=_positive(table, "downtime_limit", limit_s),
        force_after_s=_positive(table, "force_after", None),
        give_up_after_s=_positive(table, "give_up_after", None),
        options=options,
        forecast=Path(path) if (path := table.get("forecast", str, "")) else None,
        memory_bytes=table.quantity("memory", parse_size, None),
        dirty_bps=table.quantity("dirty_rate", parse_bandwidth, None),
        prestage=table.get("prestage", bool, True),
        **texts,
    )
    table.refuse_rest()
    try:
        _check(guest)
    except UsageError as error:
        raise UsageError(f"{where} ({name}): {error}") from error
    return guest


def check_options(options: Iterable[str]) -> None:
    """Raise UsageError for an option of migrate that is not another's to choose."""
    for option in options:
        if option.partition("=")[0] in OURS:
            raise UsageError(
                f"options: {option.partition('=')[0]} is not for this place; see the plan's keys"
            )


def _check(guest: Guest) -> None:
    """Raise UsageError for what contradicts itself in one guest."""
    if guest.by_libvirt == bool(guest.qmp):
        raise UsageError("give either qmp and to, or domain and desturi")
    if guest.by_libvirt:
        if not guest.desturi:
            raise UsageError("domain needs desturi, the destination's libvirt")
        if guest.destination_qmp or guest.incoming:
            raise UsageError("destination_qmp and incoming are for qmp, not for domain")
        if guest.domain.startswith("-") or guest.desturi.startswith("-"):
            raise UsageError("domain and desturi do not begin with -")
    else:
        if not guest.to:
            raise UsageError("qmp needs to, where the destination QEMU listens")
        if guest.desturi:
            raise UsageError("desturi is for domain, not for qmp")
        parse_qmp_path(guest.qmp, "qmp")
        parse_address(guest.to)
        if guest.destination_qmp:
            parse_qmp_path(guest.destination_qmp, "destination_qmp")
        if guest.incoming:
            check_incoming_uri(guest.incoming)
    check_options(guest.options or ())
    if (guest.memory_bytes is None) != (guest.dirty_bps is None):
        raise UsageError("memory and dirty_rate belong together")
    if guest.forecast is not None and guest.memory_bytes is not None:
        raise UsageError("give either forecast, or memory and dirty_rate")
    if guest.mode and guest.memory_bytes is not None:
        raise UsageError("mode is of a forecast; memory and dirty_rate know none")


def _prestage(table: TomlTable) -> Prestage:
    try:
        found = Prestage(
            _needed(table, "bandwidth", parse_bandwidth), table.quantity("switch", parse_when, None)
        )
    except UsageError as error:
        text = str(error)
        raise UsageError(text if text.startswith("prestage.") else f"prestage.{text}") from error
    table.refuse_rest()
    return found


def _check_guests(guests: tuple[Guest, ...], prestage: Prestage | None) -> None:
    """Raise UsageError for what contradicts itself between guests."""
    if not 1 <= len(guests) <= MOST_GUESTS:
        raise UsageError(f"{len(guests)} guests: give 1 to {MOST_GUESTS}, each as [[guest]]")
    for what in ("name", "qmp", "to", "destination_qmp"):
        values = [value for each in guests if (value := getattr(each, what)) and not each.by_libvirt]
        if what == "name":
            values = [each.name for each in guests]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise UsageError(f"two guests have the {what} {twice!r}")
    if prestage is None:
        return
    refused = next((each.name for each in guests if each.by_libvirt and each.prestage), None)
    if refused is not None:
        raise UsageError(
            f"guest {refused}: libvirt's cannot be pre-staged; write prestage = false, and it leaves later"
        )
