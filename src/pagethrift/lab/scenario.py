"""Scenarios: guest, load, link and migration, read from TOML and checked before anything starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pagethrift.errors import UsageError
from pagethrift.given_file import named, read_toml
from pagethrift.lab.guest.machine import ACTIVITIES, DISKS_ON, GuestSpec
from pagethrift.lab.guest.packages import QemuSeries
from pagethrift.lab.link.spec import LinkSpec, read_link
from pagethrift.lab.load.memcaslap import MemcaslapSpec
from pagethrift.lab.load.spec import LoadSpec, Protocol
from pagethrift.model.channels import Compress
from pagethrift.model.defaults import DOWNTIME_LIMIT_S
from pagethrift.strategies.table import TABLE, live_strategy, parse_parameters
from pagethrift.toml_table import TomlTable
from pagethrift.units import parse_seconds, parse_size

MOST_REPETITIONS = 1000
MOST_CPUS = 255
_NAME = re.compile(r"[\w+-][\w+. -]{0,99}")
WATCHED = "20s"
"""of a guest, for a forecast"""
PLAIN_MODES = ("plain", "xbzrle", "auto-converge", "post-copy", "multifd", "multifd-zstd", "alone")


@dataclass(frozen=True, slots=True)
class ModeSpec:
    """A mode: a strategy through the relay, or a feature of QEMU without the relay."""

    name: str
    arguments: tuple[str, ...]
    """arguments for ``pagethrift migrate``"""
    encrypted: bool = False
    """the destination has tls-creds; who connects needs the client's certificate"""

    alone: bool = False
    """QEMU decides, and connects to a relay that nobody drives"""

    @property
    def plain(self) -> bool:
        """Whether QEMU connects to the destination itself."""
        return "--plain" in self.arguments


@dataclass(frozen=True, slots=True)
class Scenario:
    """One guest, its load, its link, and its modes."""

    name: str
    description: str = ""
    qemu: QemuSeries = "10.0"
    guest: GuestSpec = field(default_factory=GuestSpec)
    link: LinkSpec = field(default_factory=LinkSpec)
    load: LoadSpec = field(default_factory=LoadSpec)
    memcaslap: MemcaslapSpec | None = None
    """a second load on memcached"""
    downtime_limit_s: float = DOWNTIME_LIMIT_S
    force_after_s: float = 60.0
    """switch over after this time, converged or not"""
    warm_up_s: float = 5.0
    """load before the migration"""
    after_s: float = 3.0
    """load after the migration"""
    min_dirty_rate_bps: int = 1 << 20
    """bytes a second: a guest that dirties less after the warm-up fails the run; 0 = any guest will do"""
    modes: tuple[ModeSpec, ...] = field(default_factory=lambda: (parse_mode("pagethrift"),))
    repetitions: int = 1
    check_ram: tuple[ModeSpec, ...] = ()
    """modes that get one more run each, in which all RAM is compared byte by byte"""

    @property
    def digest(self) -> str:
        """Digest of the settings that runs must share to be compared."""
        settings = asdict(replace(self, description="", modes=(), repetitions=1, check_ram=()))
        if self.guest.huge_pages:  # a newer key; all older result files were made with this value
            del settings["guest"]["huge_pages"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def parse_mode(text: str) -> ModeSpec:
    """Read one mode. Raises UsageError.

    Through the relay: ``STRATEGY[@STOP][:PARAMETER=VALUE,...][+FEATURE:VALUE...]`` (``hu@nova:ones=2``), with
    the features multifd (channels at the source), compress, channels and window (to the destination).
    Without the relay: one of PLAIN_MODES, such as ``xbzrle:512MiB`` or ``multifd:4``. ``+tls`` at the end of
    either encrypts the link as QEMU does, ``+forecast`` watches the guest first and keeps a forecast in the
    result. ``auto`` makes a forecast and follows it.
    """
    if text.endswith("+forecast"):
        mode = parse_mode(text.removesuffix("+forecast"))
        return replace(mode, name=text, arguments=(*mode.arguments, "--watch", WATCHED))
    if text.endswith("+tls"):
        return replace(parse_mode(text.removesuffix("+tls")), name=text, encrypted=True)
    name, _, value = text.partition(":")
    if name.partition("@")[0].partition("+")[0] in TABLE:
        return ModeSpec(text, _through_relay(text))
    plain = ("--plain", "--max-bandwidth", "0")
    match name:
        case "plain":
            return ModeSpec(text, plain)
        case "auto":
            return ModeSpec(text, ("--auto", "--watch", WATCHED))
        case "alone":
            return ModeSpec(text, plain, alone=True)
        case "xbzrle":
            return ModeSpec(text, (*plain, "--xbzrle-cache", f"{parse_size(value or '64MiB')}B"))
        case "auto-converge":
            return ModeSpec(text, (*plain, "--auto-converge"))
        case "post-copy":
            return ModeSpec(text, (*plain, "--post-copy"))
        case "multifd" | "multifd-zstd":
            compression = ("--multifd-compression", "zstd") if name == "multifd-zstd" else ()
            return ModeSpec(text, (*plain, "--multifd", _channels(text, value or "2"), *compression))
    known = ", ".join((*TABLE, *PLAIN_MODES, "auto"))
    raise UsageError(f"no mode {text!r}; choose one of {known}")


def parse_qemu(text: object) -> QemuSeries:
    """Read a series of QEMU, such as 10.0. Raises UsageError."""
    for series in get_args(QemuSeries):
        if text == series:
            return series  # type: ignore[no-any-return]
    raise UsageError(f"the series of QEMU is {text!r}; choose one of {', '.join(get_args(QemuSeries))}")


def _through_relay(text: str) -> tuple[str, ...]:
    what, *features = text.split("+")
    head, _, values = what.partition(":")
    name, _, stop = head.partition("@")
    parameters = [part for part in values.split(",") if part]
    live_strategy(name, stop, **parse_parameters(parameters))
    return (
        "--strategy", name,
        *(("--stop", stop) if stop else ()),
        *(f"--param={part}" for part in parameters),
        *(word for feature in features for word in _feature(text, feature)),
    )  # fmt: skip


def _feature(mode: str, feature: str) -> tuple[str, str]:
    name, _, value = feature.partition(":")
    match name:
        case "multifd" | "channels":
            return f"--{name}", _channels(mode, value)
        case "compress" if value in list(Compress):
            return "--compress", value
        case "window":
            return "--window", f"{parse_size(value)}B"
    raise UsageError(
        f"mode {mode!r}: after + goes multifd:CHANNELS, channels:CHANNELS, window:SIZE,"
        f" compress:{'|'.join(Compress)}, or at the end tls"
    )


def _channels(mode: str, text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 255:
        raise UsageError(f"mode {mode!r}: QEMU takes 1 to 255 channels, such as multifd:2")
    return text


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file. Raises UsageError that names the file and the key."""
    data = read_toml(path)
    with named(path):
        return parse_scenario(data, path.stem)


def parse_scenario(data: Mapping[str, Any], name: str) -> Scenario:
    """Build a scenario from parsed TOML. Raises UsageError that names the key."""
    top = TomlTable(data)
    guest = top.table("guest")
    migration, timing = top.table("migration"), top.table("timing")
    scenario = Scenario(
        name=top.get("name", str, name),
        description=top.get("description", str, ""),
        qemu=parse_qemu(guest.get("qemu", str, "10.0")),
        guest=_guest(guest),
        link=read_link(top.table("link")),
        load=top.table("load").record(LoadSpec),
        memcaslap=top.table("memcaslap").record(MemcaslapSpec) if "memcaslap" in data else None,
        downtime_limit_s=migration.quantity("downtime_limit", parse_seconds, DOWNTIME_LIMIT_S),
        force_after_s=migration.quantity("force_after", parse_seconds, 60.0),
        warm_up_s=timing.quantity("warm_up", parse_seconds, 5.0),
        after_s=timing.quantity("after", parse_seconds, 3.0),
        min_dirty_rate_bps=timing.quantity("min_dirty_rate", _size_or_zero, 1 << 20),
        modes=tuple(map(parse_mode, migration.texts("modes", ["pagethrift"]))),
        repetitions=migration.count("repetitions", 1, 1, MOST_REPETITIONS),
        check_ram=tuple(map(parse_mode, migration.texts("check_ram", []))),
    )
    for table in (guest, migration, timing, top):
        table.refuse_rest()
    if scenario.load.protocol is Protocol.REDIS and scenario.guest.activity != "redis":
        raise UsageError('load.protocol = "redis" needs guest.activity = "redis"')
    if not _NAME.fullmatch(scenario.name):
        raise UsageError(
            f"name is {scenario.name!r}; it names the result files: 1 to 100 letters, digits, '-_+. '"
        )
    if not scenario.modes:
        raise UsageError("migration.modes needs at least one mode")
    return scenario


def _choice(key: str, text: str, known: Collection[str]) -> str:
    if text not in known:
        raise UsageError(f"{key} is {text!r}; choose one of {', '.join(known)}")
    return text


def _size_or_zero(text: str) -> int:
    return 0 if text == "0" else parse_size(text)


def _mebibytes(text: str) -> int:
    """Read a size in whole MiB, in which the guest's script counts."""
    size = parse_size(text)
    if size % (1 << 20):
        raise UsageError(f"{text!r} is not a size in whole MiB; write it as 32MiB")
    return size


def _mebibytes_or_zero(text: str) -> int:
    return 0 if text == "0" else _mebibytes(text)


def _guest(table: TomlTable) -> GuestSpec:
    guest = GuestSpec()
    return replace(
        guest,
        memory_bytes=table.quantity("memory", parse_size, guest.memory_bytes),
        cpus=table.count("cpus", guest.cpus, 1, MOST_CPUS),
        machine=table.get("machine", str, guest.machine),
        disk_bytes=table.quantity("disk", parse_size, guest.disk_bytes),
        disk_on=_choice("guest.disk_on", table.get("disk_on", str, guest.disk_on), DISKS_ON),
        memcached_bytes=table.quantity("memcached", parse_size, guest.memcached_bytes),
        clear_free=table.get("clear_free", bool, guest.clear_free),
        huge_pages=table.get("huge_pages", bool, guest.huge_pages),
        activity=_choice("guest.activity", table.get("activity", str, guest.activity), ACTIVITIES),
        activity_bytes=table.quantity("activity_size", _mebibytes, guest.activity_bytes),
        activity_bps=table.quantity("activity_rate", _mebibytes_or_zero, guest.activity_bps),
    )
