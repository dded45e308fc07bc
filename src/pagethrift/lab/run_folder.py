"""The folder of one run: sockets, logs, keys and the shared disk, gone when the run is over."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "ptl-"


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make a private folder with a short path (sockets live in it) and remove it at the end."""
    sweep_folders()
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as name:
        yield Path(name)


def sweep_folders() -> None:
    """Remove this user's folders of runs whose process no longer lives."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists() and folder.stat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
