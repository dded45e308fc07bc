"""Facts without which two runs cannot be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pagethrift.kernels import machine_code

PACKAGES = ("pagethrift", "numpy", "numba", "llvmlite", "matplotlib", "xxhash", "blake3")


def facts() -> dict[str, Any]:
    """Return processor, kernel and versions."""
    return {
        "processor": _cpuinfo("model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in _cpuinfo("flags").split(),
        "cache_l2": _cache("2"),
        "cache_l3": _cache("3"),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "transparent_hugepages": _text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cat": _first_line(["cat", "--version"]),
        "openssl": _openssl(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "kernels": "compiled when called" if machine_code.extension() is None else "built",
        "commit": _first_line(["git", "rev-parse", "--short", "HEAD"]),
        "modified": bool(_first_line(["git", "status", "--porcelain", "--", "src"])),
    }


def load() -> list[float]:
    """Return the load averages, rounded."""
    return [round(value, 2) for value in os.getloadavg()]


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpuinfo(key: str) -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _cache(level: str) -> str:
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if _text(str(folder / "level")) == level:
            return _text(str(folder / "size"))
    return ""


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0].strip()


def _openssl() -> str:
    import ssl

    return ssl.OPENSSL_VERSION


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
