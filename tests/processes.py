"""Processes below this one."""

from __future__ import annotations

import os
from pathlib import Path


def worker_pids() -> list[int]:
    """Return the Dask workers that this process has started."""
    return [pid for pid in _descendants(os.getpid()) if b"spawn_main" in _command(pid)]


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            children = [int(text) for text in (task / "children").read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
