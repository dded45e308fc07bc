"""Facts about this machine and the processes on it, read from /proc."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pagethrift.model.result import HostFacts


def host_facts() -> HostFacts:
    """Return the facts that tell whether two results may be compared."""
    try:
        own_version = version("pagethrift")
    except PackageNotFoundError:
        own_version = ""
    return HostFacts(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu_model=_cpu_model(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        pagethrift=own_version,
    )


@dataclass(frozen=True, slots=True)
class QemuProcess:
    """A QEMU on this machine, told apart from a later process with the same number by its start."""

    pid: int
    started: str
    """clock ticks since boot, as /proc says"""

    @classmethod
    def at(cls, pid: int) -> QemuProcess | None:
        """Return the process; None when ``pid`` is not a QEMU: a forwarded socket leads to a forwarder."""
        fields = _stat(pid)
        if fields is None:
            return None
        name, numbers = fields
        if "qemu" in name or name.startswith("kvm") or b"qemu-system" in _command_line(pid):
            return cls(pid, numbers[19])
        return None

    @property
    def ended(self) -> bool:
        """Whether it is gone, or only waits for its parent to take note."""
        fields = _stat(self.pid)
        return fields is None or fields[1][19] != self.started or fields[1][0] in ("Z", "X")

    def cpu_s(self) -> float | None:
        """Return user + system CPU seconds so far; None once it has ended."""
        fields = _stat(self.pid)
        if fields is None or fields[1][19] != self.started:
            return None
        return (int(fields[1][11]) + int(fields[1][12])) / os.sysconf("SC_CLK_TCK")


def started_at(pid: int) -> str:
    """Return when a process began, in clock ticks since boot; empty: it has ended."""
    fields = _stat(pid)
    return "" if fields is None or fields[1][0] in ("Z", "X") else fields[1][19]


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """Return the name and the fields behind it of /proc/PID/stat."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name, rest.split()


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
