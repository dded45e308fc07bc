"""How far an evacuation is, in a file of the state folder: a killed one is taken up again from there.

The file's lock is held as long as the evacuation runs; the kernel lifts it when the process ends, however
that happens. The migrations are processes of their own, and go on meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TextIO

from pagethrift.errors import UsageError
from pagethrift.given_file import read_json
from pagethrift.state_folder import state_folder
from pagethrift.whole_file import write_text

SCHEMA, VERSION = "pagethrift.evacuation-state", 1


class Stage(StrEnum):
    """Where one guest is in its evacuation."""

    WAITING = "waiting"
    ON_WAY = "on its way"
    OUT = "out"
    STAYED = "stayed"
    """its migration has failed or was broken off, and it runs at the source"""
    IN_DOUBT = "in doubt"
    """nobody can say where it runs, or it runs at neither end or at both: an operator must act"""


@dataclass(slots=True)
class GuestState:
    """What is known of one guest's way."""

    stage: Stage = Stage.WAITING
    id: str = ""
    """of its migration"""
    pid: int = 0
    """of its migration's process"""
    started: str = ""
    """when that process began, in clock ticks since boot"""
    waits_for_go: bool = False
    """it was started for pre-staging, and has not been told to go"""
    began_unix_s: float | None = None
    ended_unix_s: float | None = None
    said: str = ""
    """where it is, or why its migration failed: one line"""


@dataclass(slots=True)
class State:
    """What outlives a killed evacuation."""

    plan: str
    """absolute path of the plan"""
    began_unix_s: float
    folder: str
    """of its results"""
    went_unix_s: float | None = None
    """when the guests that were brought over were told to go"""
    guests: dict[str, GuestState] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps({"schema": SCHEMA, "version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """Read it back. Raises UsageError."""
        try:
            if (data["schema"], data["version"]) != (SCHEMA, VERSION):
                raise UsageError("the state of another version")
            values = {each.name: data[each.name] for each in fields(cls)}
            values["guests"] = {
                str(name): GuestState(**{**each, "stage": Stage(each["stage"])})
                for name, each in values["guests"].items()
            }
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not the state of an evacuation: {error!r}") from error


class StateFile:
    """The file of one plan."""

    def __init__(self, plan: Path) -> None:
        """Raise UsageError where there is no safe folder for it."""
        folder = state_folder()
        if folder is None:
            raise UsageError("there is no folder for the state of an evacuation; set XDG_RUNTIME_DIR")
        self.plan = str(plan.resolve())
        digest = hashlib.sha256(os.fsencode(self.plan)).hexdigest()[:16]
        self.path = folder / f"evacuation-{digest}.json"
        self._lock = folder / f"evacuation-{digest}.lock"

    def read(self) -> State | None:
        """Return what was written last; None: nothing. Raises UsageError."""
        if not self.path.exists():
            return None
        try:
            return State.from_data(read_json(self.path))
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}; remove the file to begin anew") from error

    def write(self, state: State) -> None:
        """Write it whole. Raises OSError."""
        write_text(self.path, state.to_json())

    def remove(self) -> None:
        """Forget the evacuation: its host is empty."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Work on this plan alone. Raises UsageError when another process does."""
        with contextlib.ExitStack() as stack:
            while (lock := self._taken(stack)) is None:
                stack.close()
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                self._lock.unlink(missing_ok=True)  # before the lock is lifted: who gets it next sees that

    def _taken(self, stack: contextlib.ExitStack) -> TextIO | None:
        """Lock the file until ``stack`` ends; None: its owner removed it meanwhile, try again."""
        lock = stack.enter_context(self._lock.open("a"))
        if not _locked(lock.fileno()):
            raise UsageError(f"{self.plan}: another pagethrift evacuate works on this plan")
        try:
            if not os.path.samestat(os.fstat(lock.fileno()), self._lock.stat()):
                return None
        except FileNotFoundError:
            return None
        lock.truncate(0)  # a killed one may have left its number
        return lock

    def tell_go(self) -> None:
        """Tell the evacuation that runs to switch over what it has brought over. Raises UsageError."""
        pid = ""
        with contextlib.suppress(FileNotFoundError), self._lock.open("r+") as lock:
            pid = "" if _locked(lock.fileno()) else lock.read()
        if not pid.isdecimal():
            raise UsageError(f"{self.plan}: no evacuation of this plan runs here")
        try:
            os.kill(int(pid), signal.SIGUSR1)
        except OSError as error:
            raise UsageError(f"process {pid} of the evacuation: {error.strerror}") from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
