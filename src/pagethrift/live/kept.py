"""What outlives a killed pagethrift: the operator's settings of a QEMU, and the claim on it while one works.

Both are files named after the QEMU's process, in /run/pagethrift (root) or in the user's runtime folder. A
claim is a lock on a file, which the kernel lifts when its owner ends, however that happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pagethrift.errors import QmpError
from pagethrift.live.host import QemuProcess
from pagethrift.live.qmp import QmpMonitor
from pagethrift.state_folder import state_folder

SCHEMA, VERSION = "pagethrift.kept-settings", 1
LARGEST_BYTES = 64 << 10
"""QEMU has about 60 parameters and capabilities"""
Scalar = str | int | float | bool


def _file(process: QemuProcess | None, ending: str) -> Path | None:
    folder = state_folder() if process is not None else None
    return folder / f"{process.pid}-{process.started}.{ending}" if folder and process else None


@contextlib.contextmanager
def claimed(monitor: QmpMonitor) -> Iterator[None]:
    """Work with this QEMU alone among this user's pagethrifts. Raises QmpError when another one does.

    A QEMU whose process cannot be seen from here cannot be claimed: the block runs all the same.
    """
    path = _file(monitor.process, "lock")
    if path is None:
        yield
        return
    _sweep(path.parent)
    with ExitStack() as stack:
        while not _locked(path, stack, monitor):
            stack.close()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # before the lock is lifted: whoever gets it next sees that the file is gone


def _locked(path: Path, stack: ExitStack, monitor: QmpMonitor) -> bool:
    """Lock the file at ``path`` until ``stack`` ends; False: its owner removed it meanwhile, try again."""
    lock = stack.enter_context(path.open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise QmpError(
            f"{monitor.role} {monitor.path}: another pagethrift works with this QEMU; wait for its end"
        ) from error
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except OSError:
        return False


def keep(
    process: QemuProcess | None, parameters: Mapping[str, Any], capabilities: Mapping[str, bool]
) -> None:
    """Write the operator's values down before they are changed; where that fails, go on without."""
    path = _file(process, "settings.json")
    if path is None:
        return
    data = {"schema": SCHEMA, "version": VERSION, "parameters": parameters, "capabilities": capabilities}
    draft = path.with_suffix(".part")
    try:
        draft.write_text(json.dumps(data))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed pagethrifts left of QEMUs that have ended: nothing is to be restored there."""
    with contextlib.suppress(OSError):
        for path in folder.glob("*-*.*"):
            number, _, started = path.name.partition(".")[0].partition("-")
            if number.isdecimal() and QemuProcess(int(number), started).ended and not _is_held(path):
                path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def forget(process: QemuProcess | None) -> None:
    """Remove what was kept: everything is restored."""
    path = _file(process, "settings.json")
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def kept(process: QemuProcess | None) -> tuple[dict[str, Scalar], dict[str, bool]] | None:
    """Return (parameters, capabilities) that a killed pagethrift left; None: there are none to be trusted."""
    path = _file(process, "settings.json")
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(LARGEST_BYTES))
        if (data["schema"], data["version"]) != (SCHEMA, VERSION):
            return None
        parameters = {str(name): value for name, value in data["parameters"].items()}
        capabilities = {str(name): value for name, value in data["capabilities"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not all(isinstance(value, Scalar) for value in parameters.values()):
        return None
    return (parameters, capabilities) if all(type(v) is bool for v in capabilities.values()) else None
