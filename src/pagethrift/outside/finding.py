"""Finding the relays and migrations that run on this machine, asking and changing them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pagethrift.errors import LinkError, UsageError
from pagethrift.model.relay_protocol import AskStatus, Change, encode_command
from pagethrift.model.running import Running, decode_answer
from pagethrift.outside.status_socket import peer_of, process_of, receive_line
from pagethrift.process_memory import memory_bytes
from pagethrift.sockets import remove_dead_socket
from pagethrift.state_folder import socket_folders

ASK_S = 1.0
"""for a status; a process that is stopped does not answer at all"""
CHANGE_S = 20.0
"""for a change: a QEMU that is busy answers late"""
SOCKETS_MAX = 1000
"""in one folder, which may be another user's"""
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A status socket with a living process behind it."""

    path: Path
    pid: int
    """0: in another process namespace"""
    running: Running | None
    """what it says of itself; None: it does not answer, or not in our language"""
    is_ours: bool = False
    """it is of this process's user: an id that another user's process says may be anybody's"""

    @property
    def rss_bytes(self) -> int:
        """Memory of the process and of the relay that it started, now."""
        pids = {self.pid, self.running.relay_pid if self.running else 0} - {0}
        return sum(memory_bytes(pid, "VmRSS") for pid in pids)


def find_running() -> list[Found]:
    """Return what runs, by its age; for root of all users, else this user's. Dead sockets are removed."""
    places = list(_sockets())
    with ThreadPoolExecutor(AT_ONCE, "ask") as pool:
        found = list(filter(None, pool.map(lambda place: _look(*place), places)))
    return sorted(found, key=lambda each: (each.running.began_unix_s if each.running else 0.0, each.pid))


def chosen(found: list[Found], name: str | None) -> Found:
    """Return the one that is meant: by migration id, guest or process number. Raises UsageError."""
    names = ", ".join(each.running.id for each in found if each.running) or "none"
    if name is None:
        if len(found) == 1:
            return found[0]
        raise UsageError(f"{len(found)} migrations run here ({names}); name one" if found else _NOTHING)
    for key in ("id", "guest", "pid"):
        fit = [each for each in found if each.running and name == str(getattr(each.running, key))]
        if len(fit) == 1:
            return fit[0]
        if fit:
            ids = ", ".join(each.running.id for each in fit if each.running)
            raise UsageError(f"{name!r} is the {key} of {len(fit)} migrations ({ids}); name one by its id")
    raise UsageError(
        f"no migration {name!r} runs here, of this user (running: {names})" if found else _NOTHING
    )


_NOTHING = "no migration of this user runs here; for those of other users run it as root"


def change(found: Found, wanted: Change) -> Running:
    """Change a running migration and return what is in force then. Raises its refusal, or LinkError."""
    try:
        return _ask(found.path, encode_command(wanted), CHANGE_S, _owner(found.path))
    except OSError as error:
        said = error.strerror or "no answer"
        raise LinkError(f"{found.path}: {said}; see by pagethrift top what is in force") from error


def _sockets() -> Iterator[tuple[Path, int]]:
    for folder, owner in socket_folders():
        with contextlib.suppress(OSError):
            paths = (path for path in folder.iterdir() if process_of(path) is not None)
            for path in islice(paths, SOCKETS_MAX):
                yield path, owner


def _look(path: Path, owner: int) -> Found | None:
    pid = process_of(path) or 0
    try:
        running = _ask(path, encode_command(AskStatus()), ASK_S, owner)
        return Found(path, running.pid, running, owner == os.geteuid())
    except (ConnectionRefusedError, FileNotFoundError):
        if owner == os.geteuid():  # in another user's folder the name may lead elsewhere by now
            remove_dead_socket(str(path))
        return None
    except PermissionError:
        return None
    except (OSError, LinkError, UsageError):  # it lives, and says nothing that can be read
        return Found(path, pid, None, owner == os.geteuid())


def _owner(path: Path) -> int:
    return path.lstat().st_uid


def _ask(path: Path, line: bytes, within_s: float, owner: int) -> Running:
    """Return the answer. Raises OSError, LinkError, or what the other end refused with.

    In a folder of another user anything may stand there: nothing is said but to a process of its owner.
    """
    found = path.lstat()
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != owner:
        raise PermissionError
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(within_s)
        connection.connect(str(path))
        if peer_of(connection)[1] != owner:
            raise PermissionError
        connection.sendall(line)
        return decode_answer(receive_line(connection, within_s))
