"""The course of one migration, over QMP or under libvirt: what comes after what, however it ends.

Whatever breaks, the migration is broken off first, then both ends are asked where the guest is, then all is
recorded. Only then is the error raised, and it says where the guest is.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pagethrift.errors import GuestError, PagethriftError, SourceEnded
from pagethrift.live.said import one_line, said_of
from pagethrift.live.undisturbed import undisturbed
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.whole_file import write_text

T = TypeVar("T")


class Found(Protocol):
    """Where the guest is, as both ends say."""

    @property
    def at_one_end(self) -> bool:
        """Whether nobody needs to act."""
        ...

    def sentence(self) -> str:
        """Return where the guest is and, if somebody must act, how."""
        ...


def located(error: PagethriftError, found: Found, *more: str) -> PagethriftError:
    """Return the error with ``more`` and where the guest is; a GuestError if somebody must act."""
    if found.at_one_end:
        return one_line(error, *more, found.sentence())
    return GuestError("; ".join(filter(None, (str(error), *more, found.sentence()))))


class Course(ABC, Generic[T]):
    """One migration from its beginning to its record; a driver says how each step is done."""

    def __init__(self, result_path: Path | None, warnings: list[str]) -> None:
        self._result_path = result_path
        self._warnings = warnings

    async def run(self) -> T:
        """Carry the migration out; cancelled, break it off. Raises PagethriftError."""
        try:
            await self._carry_out()
        except asyncio.CancelledError as error:
            if not await undisturbed(self._break_off()):
                found = await undisturbed(self._guest_now())
                error.args = (found.sentence(),)
                await undisturbed(self._note(Outcome.CANCELLED, f"interrupted; {found.sentence()}"))
                raise
        except Exception as error:  # memory that ran out, too: where the guest is has to be said all the same
            failure = await undisturbed(self._failure(said_of(error)))
            if failure is not None:
                await undisturbed(self._note(Outcome.FAILED, str(failure)))
                raise failure from error
        return await undisturbed(self._complete())

    @abstractmethod
    async def _carry_out(self) -> None:
        """Migrate; return when the source says that it has completed. Raises PagethriftError."""

    @abstractmethod
    async def _break_off(self) -> bool:
        """Stop the migration so that the source's guest goes on; True if the migration had completed."""

    @abstractmethod
    async def _guest_now(self) -> Found:
        """Ask where the guest is after a failure; the source resumes it within milliseconds."""

    @abstractmethod
    async def _complete(self) -> T:
        """Do what is left once the source has completed. Raises PagethriftError."""

    @abstractmethod
    async def _result(self, outcome: Outcome, error: str) -> MigrationResult:
        """Give the operator's settings back, and return the record of the migration."""

    async def _failure(self, error: PagethriftError, *more: str) -> PagethriftError | None:
        """Break the migration off; return what went wrong and where the guest is, None: it had completed."""
        if await self._break_off():
            self._warnings.append(str(error))
            return None
        if isinstance(error, SourceEnded):
            return error
        return located(error, await self._guest_now(), *more)

    async def _note(self, outcome: Outcome, error: str) -> None:
        """Record a migration that came to nothing; what goes wrong with that must not hide ``error``."""
        with contextlib.suppress(Exception):
            await self._record(outcome, error)

    async def _record(self, outcome: Outcome, error: str = "") -> MigrationResult:
        """Return the record, and write its file; the guest has moved or not, whatever becomes of a file."""
        result, path = await self._result(outcome, error), self._result_path
        if path is None:
            return result
        try:
            write_text(path, result.to_json())
        except OSError as failure:
            warning = f"the result could not be written to {path}: {failure.strerror or failure}"
            return replace(result, warnings=(*result.warnings, warning))
        return result
