"""memcaslap (memaslap of libmemcached) as a second load: as fast as the guest answers, second by second."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError, UsageError
from pagethrift.lab.guest.image import MEMCACHED_PORT
from pagethrift.lab.hosts.network import GUEST_ADDRESS
from pagethrift.lab.hosts.processes import Process, ProcessGroup

_LONGEST = "24h"
# Each second it prints three tables, of which the last is the total; the columns are
# Type Time Ops TPS Net Get_miss Min Max Avg Std_dev Geo_dist, latencies in microseconds.
_PERIOD = re.compile(
    r"^Total Statistics.*?^Period\s+1\s+(\d+)\s+\d+\s+\S+\s+(\d+)\s+\d+\s+(\d+)\s+(\d+)", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class MemcaslapSpec:
    """The settings of memcaslap. Raises UsageError when a value is impossible."""

    connections: int = 16
    """its --concurrency"""
    window: str = "10k"
    """objects of each connection to choose from; memcaslap requires k or M after the number"""
    set_share: float = 0.5
    overwrite_share: float = 0.5
    """share of the sets that change an object; the others add one. With 1 (-o 1.0) memcaslap 1.1.4 writes
    only one object a connection, regardless of the window: see curr_items in memcached's stats"""
    value_bytes: int = 1000

    def __post_init__(self) -> None:
        for name in ("set_share", "overwrite_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be 0..1, not {getattr(self, name)}")
        for name, most in (("connections", 1024), ("value_bytes", 1_000_000)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(f"{name} must be 1..{most}, not {getattr(self, name)}")
        if not re.fullmatch(r"[1-9][0-9]{0,4}[kM]", str(self.window)):
            raise UsageError(f"window must be like 10k or 1M, not {self.window!r}")
        if self.overwrite_share == 1:
            raise UsageError(
                "overwrite_share 1 makes memcaslap write one object a connection; use 0.9 or less"
            )


class Memcaslap:
    """A running memcaslap; it ends with its process group."""

    def __init__(self, spec: MemcaslapSpec, folder: Path, namespace: str, group: ProcessGroup) -> None:
        configuration = folder / "memcaslap.cnf"
        configuration.write_text(
            f"key\n16 16 1\nvalue\n{spec.value_bytes} {spec.value_bytes} 1\n"
            f"cmd\n0 {spec.set_share}\n1 {1 - spec.set_share}\n"
        )
        self._began_s, self._began_unix_s = time.monotonic(), time.time()
        # When stopped it prints nothing more, so its earlier output must not wait in a buffer.
        command = ["stdbuf", "-oL", "memcaslap", "-s", f"{GUEST_ADDRESS}:{MEMCACHED_PORT}", "-S", "1s"]
        command += ["-T", "2", "-c", str(spec.connections), "-w", spec.window]
        command += ["-o", str(spec.overwrite_share), "-F", str(configuration), "-t", _LONGEST]
        self._group = group
        self._process: Process = group.start(command, name="memcaslap", namespace=namespace)

    def require_running(self) -> None:
        """Raise LabError when it has ended by itself."""
        self._process.require_running()

    def finish(self) -> dict[str, Any]:
        """Stop it and return its series. Raises LabError when it has ended by itself."""
        self.require_running()
        self._group.stop(self._process)
        series = parse_series(self._process.log_path.read_text(errors="replace"))
        if not series["operations"]:
            raise LabError(f"memcaslap did nothing: {self._process.last_words()}; see its log")
        return {"began_s": self._began_s, "began_unix_s": self._began_unix_s, "interval_s": 1.0, **series}


def parse_series(text: str) -> dict[str, list[float]]:
    """Return operations, get misses, worst and mean latency of each second that memcaslap has printed."""
    periods = [[int(number) for number in match.groups()] for match in _PERIOD.finditer(text)]
    return {
        "operations": [row[0] for row in periods],
        "misses": [row[1] for row in periods],
        "max_ms": [row[2] / 1000 for row in periods],
        "mean_ms": [row[3] / 1000 for row in periods],
    }
