"""What a process has used, from /proc."""

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


def waited_s(pid: int | str = "self") -> float:
    """Return how long the threads of a process were ready to run and had no processor, in seconds.

    A thread that has ended takes its time along. 0 for a process that has ended, and where the kernel does
    not say (/proc/PID/task/TID/schedstat, the second number).
    """
    waited_ns = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            waited_ns += int(path.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return waited_ns / 1e9
