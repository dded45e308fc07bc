"""The lab's cache folder: each part of it is made once, under a lock, and is there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pagethrift.errors import LabError

_MARKER = "complete.json"


def cache_dir() -> Path:
    """Return the lab's cache folder, $PAGETHRIFT_CACHE or ~/.cache/pagethrift, created if missing.

    Raises LabError when it cannot be made or written.
    """
    folder = Path(os.environ.get("PAGETHRIFT_CACHE") or os.path.expanduser("~/.cache/pagethrift"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make the cache {folder}: {error.strerror}; set PAGETHRIFT_CACHE") from error
    if not os.access(folder, os.W_OK):
        raise LabError(f"the cache {folder} is not this user's; set PAGETHRIFT_CACHE to another folder")
    return folder.resolve()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the cache by its name; other processes and threads wait."""
    with (cache_dir() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(name: str, fill: Callable[[Path], Mapping[str, object]], *, fetch: bool = True) -> Path:
    """Return a folder of the cache; ``fill`` makes it if it is missing, and returns facts to keep with it.

    Raises LabError when it is missing and ``fetch`` is False.
    """
    target = cache_dir() / name
    if (target / _MARKER).exists():
        return target
    if not fetch:
        raise LabError(f"{name} is not in {cache_dir()} yet; the first lab run fetches it")
    with locked(name):
        if (target / _MARKER).exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        facts = fill(target)
        # The marker is written last and whole: the next run redoes the folder of a killed run.
        draft = target / f"{_MARKER}.new"
        draft.write_text(json.dumps(facts, indent=1))
        draft.rename(target / _MARKER)
    return target


def kept_facts(folder: Path) -> dict[str, Any]:
    """Return the facts kept with a folder of the cache; empty for any other folder."""
    marker = folder / _MARKER
    return dict(json.loads(marker.read_text())) if marker.exists() else {}
