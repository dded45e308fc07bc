"""The folder of this user's pagethrifts: claims and kept settings of QEMUs, status sockets.

/run/pagethrift for root, else the user's runtime folder, else one in the temporary directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOTS = Path("/run/pagethrift")


def state_folder() -> Path | None:
    """Return the folder of this user's files, made if need be; None where none is safe."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0:
        folder = ROOTS
    elif runtime:
        folder = Path(runtime) / "pagethrift"
    else:
        folder = Path(tempfile.gettempdir()) / f"pagethrift-{os.geteuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if _safe(folder, os.geteuid()):
            return folder
    return None


def socket_folder() -> Path | None:
    """Return the folder for this process's status socket; None where none is safe.

    A service that is not root has one of its own from systemd, and can often make no other.
    """
    given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given and os.geteuid() != 0:
        with contextlib.suppress(OSError):
            if _safe(Path(given), os.geteuid()):
                return Path(given)
    return state_folder()


def socket_folders() -> Iterator[tuple[Path, int]]:
    """Yield each folder that may have status sockets for this user to read, with its owner.

    For root those are all users'. A folder that others than its owner could write to is left out.
    """
    own = os.geteuid()
    places = [ROOTS, *_below(ROOTS)]
    if own == 0:
        places += [path / "pagethrift" for path in _below(Path("/run/user"))]
        places += [path for path in _below(Path(tempfile.gettempdir())) if _is_named(path.name)]
    else:
        places += filter(None, (socket_folder(), state_folder()))
    for folder in dict.fromkeys(places):
        with contextlib.suppress(OSError):
            owner = folder.lstat().st_uid
            if own in (0, owner) and _safe(folder, owner):
                yield folder, owner


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_named(name: str) -> bool:
    return name.startswith("pagethrift-") and name.removeprefix("pagethrift-").isdecimal()


def _safe(folder: Path, owner: int) -> bool:
    """Whether it is a folder, no link, that only ``owner`` can write to. Raises OSError."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o022
