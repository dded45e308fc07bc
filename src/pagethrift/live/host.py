"""Facts about this machine and the processes on it, read from /proc."""

from __future__ import annotations

import os
import platform
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


def qemu_cpu_s(pid: int) -> float | None:
    """Return user + system CPU seconds of a local QEMU process so far.

    None when ``pid`` is not a QEMU: the peer of a forwarded QMP socket is the forwarder.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    if "qemu" not in name and not name.startswith("kvm"):
        return None
    numbers = rest.split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
