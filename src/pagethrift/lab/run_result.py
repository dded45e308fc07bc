"""One lab run as data: the migration's record, what the client saw, and what was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError, UsageError
from pagethrift.lab.disk import DiskCheck
from pagethrift.lab.equality import RamEquality
from pagethrift.lab.link_spec import LinkChange, LinkSpec
from pagethrift.lab.route import Route
from pagethrift.model.result import MigrationResult

RUN_SCHEMA = "pagethrift-run"
RUN_VERSION = 1


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """The migration link of a run."""

    bandwidth_bps: int | None
    """bytes per second when the migration began; None = not shaped"""
    changes: tuple[LinkChange, ...]
    """those planned; a migration that ends earlier does not see them"""
    delay_s: float
    """in each direction"""
    delay_by: str
    """netem (the kernel), forwarder (pagethrift.lab.delay) or empty"""
    security: str
    """none, ssh or tls"""
    protection: str
    """program and version of the tunnel, or empty"""


def link_record(link: LinkSpec, route: Route) -> LinkRecord:
    """Return what a result says of its link."""
    return LinkRecord(
        link.bandwidth_bps, link.changes, link.delay_s, route.delay_by, link.security.value, route.protection
    )


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run of a scenario in one mode; docs/result-format.md describes the file."""

    scenario: str
    mode: str
    repetition: int
    migration: MigrationResult
    """``blackout_s`` as a client saw it and ``transferred_bytes`` as the link's device counted"""
    client: dict[str, Any]
    """report of the load generator"""
    accelerator: str
    lost_requests: int
    """requests that failed or were answered wrongly"""
    ram: RamEquality | None = None
    dirty_rate_bytes_per_s: int | None = None
    """memory the guest changed within a second, after the warm-up, as QEMU's page sampling found it"""
    link: LinkRecord | None = None
    cpu_s: Mapping[str, float] | None = None
    """CPU seconds during the migration: the source QEMU's vcpu, migration, multifd, main and other threads,
    and the processes destination, tunnel, delay and relay (its start included)"""
    peak_rss_bytes: Mapping[str, int] | None = None
    """most memory of source, destination, tunnel, delay and relay since each began"""
    disk: DiskCheck | None = None
    settings_digest: str = ""
    """of the scenario's settings but modes and repetitions (`Scenario.digest`); empty in older files"""

    def write(self, path: Path) -> None:
        """Write the result file, whole or not at all. Raises LabError."""
        data = asdict(self)
        data["migration"] = json.loads(self.migration.to_json())
        text = json.dumps({"schema": RUN_SCHEMA, "version": RUN_VERSION, **data}, indent=1)
        draft = path.with_suffix(".part")
        try:
            draft.write_text(text + "\n")
            draft.replace(path)
        except OSError as error:
            raise LabError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read a result file. Raises UsageError."""
        try:
            return cls.from_data(json.loads(path.read_text()))
        except (OSError, ValueError, UsageError) as error:
            raise UsageError(f"cannot read run result {path}: {error}") from error

    @classmethod
    def from_data(cls, data: Any) -> RunResult:
        """Return a result from parsed JSON; unknown keys are ignored, so newer writers stay readable.

        Raises UsageError when it is none, or one of another schema version.
        """
        try:
            if (data["schema"], data["version"]) != (RUN_SCHEMA, RUN_VERSION):
                raise UsageError(f"not a {RUN_SCHEMA} of version {RUN_VERSION}")
            values = {known.name: data[known.name] for known in fields(cls) if known.name in data}
            values["migration"] = MigrationResult.from_json(json.dumps(values["migration"]))
            if values.get("ram") is not None:
                ram = values["ram"]
                values["ram"] = RamEquality(**ram | {"first_differences": tuple(ram["first_differences"])})
            if values.get("link") is not None:
                changes = tuple(LinkChange(**change) for change in values["link"]["changes"])
                values["link"] = LinkRecord(**values["link"] | {"changes": changes})
            if values.get("disk") is not None:
                values["disk"] = DiskCheck(**values["disk"])
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"not a run result: {error!r}") from error
