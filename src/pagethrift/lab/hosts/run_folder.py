"""The folders of one run: sockets, logs, keys, the shared disk, dumps of RAM; removed after the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "ptl-"


_MEMORY = Path("/dev/shm")


@contextmanager
def run_folder(in_memory_bytes: int = 0) -> Iterator[Path]:
    """Make a private folder with a short path (sockets live in it) and remove it at the end.

    ``in_memory_bytes``: total size of the files; the folder is in memory if they fit.
    """
    sweep_folders()
    roomy = in_memory_bytes > 0 and _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    roomy = roomy and shutil.disk_usage(_MEMORY).free > in_memory_bytes
    with tempfile.TemporaryDirectory(
        prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY if roomy else None
    ) as name:
        yield Path(name)


def sweep_folders() -> None:
    """Remove this user's folders of runs whose process no longer lives."""
    places = (Path(tempfile.gettempdir()), _MEMORY)
    for folder in (found for place in places for found in place.glob(f"{_PREFIX}*-*")):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists() and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
