"""One lab run as data: the migration's record, what the client saw, and what was checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pagethrift.errors import UsageError
from pagethrift.lab.equality import RamEquality
from pagethrift.model.result import MigrationResult

RUN_SCHEMA = "pagethrift-run"
RUN_VERSION = 1


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

    def write(self, path: Path) -> None:
        """Write the result file."""
        data = asdict(self)
        data["migration"] = json.loads(self.migration.to_json())
        text = json.dumps({"schema": RUN_SCHEMA, "version": RUN_VERSION, **data}, indent=1)
        path.write_text(text + "\n")

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read a result file. Raises UsageError."""
        try:
            data = json.loads(path.read_text())
            if (data.pop("schema"), data.pop("version")) != (RUN_SCHEMA, RUN_VERSION):
                raise UsageError(f"{path} is not a {RUN_SCHEMA} of version {RUN_VERSION}")
            data["migration"] = MigrationResult.from_json(json.dumps(data["migration"]))
            if data["ram"] is not None:
                data["ram"]["first_differences"] = tuple(data["ram"]["first_differences"])
                data["ram"] = RamEquality(**data["ram"])
            return cls(**data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"cannot read run result {path}: {error!r}") from error
