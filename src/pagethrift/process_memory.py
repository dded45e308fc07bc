"""How much memory a process uses and its peak, as the kernel counts them."""

from __future__ import annotations

from pathlib import Path


def memory_bytes(pid: int | str = "self", key: str = "VmHWM") -> int:
    """Return a size in /proc/PID/status in bytes; 0 for a process that has ended.

    VmHWM, the peak, begins at zero with each program. The ru_maxrss of getrusage() does not: it starts
    with the peak of the parent process, hundreds of megabytes for a child of a driver.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:")), 0)
