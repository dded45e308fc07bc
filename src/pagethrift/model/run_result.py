"""One lab run as data: the migration's record, what the client saw, and what was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.model.result import MigrationResult

RUN_SCHEMA = "pagethrift-run"
RUN_VERSION = 1


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A change of the link's bandwidth."""

    after_s: float
    """since the migration began"""
    bandwidth_bps: int | None
    """bytes per second; None = not shaped"""


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """The migration link of a run."""

    bandwidth_bps: int | None
    """bytes per second when the migration began; None = not shaped"""
    changes: tuple[LinkChange, ...]
    """the planned changes; a migration that ends earlier does not see them"""
    delay_s: float
    """in each direction"""
    delay_by: str
    """netem (the kernel), forwarder (pagethrift.lab.link.delay) or empty"""
    security: str
    """none, ssh or tls"""
    protection: str
    """program and version of the tunnel, or empty"""


@dataclass(frozen=True, slots=True)
class RamEquality:
    """The outcome of comparing the guest's RAM at both ends."""

    compared_bytes: int
    differing_pages: int
    first_differences: tuple[int, ...] = ()
    """addresses of the first differing pages"""


@dataclass(frozen=True, slots=True)
class DiskCheck:
    """The content of the disk after the guest had unmounted it at the destination."""

    fsck_clean: bool
    """fsck.ext4 -f -n found nothing"""
    files_checked: int
    """files whose content was compared with the SHA-256 in their name"""
    files_wrong: int
    """files with other content, and missing files"""
    files_written: int
    """files that the guest wrote since its start; a later one replaces an older one"""
    written_during_bytes: int
    """bytes written to the source's disk between the begin and the end of the migration"""

    @property
    def sound(self) -> bool:
        """True when the disk was checked and nothing was wrong."""
        return self.fsck_clean and self.files_checked > 0 and self.files_wrong == 0


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
    """memory that the guest changed within a second, after the warm-up, by QEMU's page sampling"""
    link: LinkRecord | None = None
    cpu_s: Mapping[str, float] | None = None
    """CPU seconds during the migration: the source QEMU's vcpu, migration, multifd, main and other threads,
    and the processes destination, tunnel, delay and relay (its start included)"""
    peak_rss_bytes: Mapping[str, int] | None = None
    """peak memory of the processes source, destination, tunnel, delay and relay, since each one's start"""
    disk: DiskCheck | None = None
    settings_digest: str = ""
    """digest of the scenario without modes and repetitions (`Scenario.digest`); empty in older files"""

    def to_data(self) -> dict[str, Any]:
        """Return the result as in its file, schema and version first."""
        data = {"schema": RUN_SCHEMA, "version": RUN_VERSION, **asdict(self)}
        return data | {"migration": self.migration.to_data()}

    def to_json(self) -> str:
        """Return the result file's text."""
        return json.dumps(self.to_data(), indent=1) + "\n"

    @classmethod
    def from_data(cls, data: Any) -> RunResult:
        """Return a result from parsed JSON; unknown keys are ignored, so newer writers stay readable.

        Raises UsageError when ``data`` is not a run result or is of another schema version.
        """
        try:
            if (data["schema"], data["version"]) != (RUN_SCHEMA, RUN_VERSION):
                raise UsageError(f"not a {RUN_SCHEMA} of version {RUN_VERSION}")
            values = {known.name: data[known.name] for known in fields(cls) if known.name in data}
            values["migration"] = MigrationResult.from_data(values["migration"])
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
