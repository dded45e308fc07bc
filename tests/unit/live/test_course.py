"""However a migration ends: broken off first, then the guest is looked for, then recorded, then said."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from pagethrift.errors import GuestError, LinkError, PagethriftError, SourceEnded
from pagethrift.live.course import Course, located
from pagethrift.model.result import MigrationResult, Mode, Outcome


@dataclass
class Found:
    """Where the guest is said to be."""

    at_one_end: bool = True

    def sentence(self) -> str:
        return "the guest is there"


class Scripted(Course[str]):
    """A migration that fails as it is told, and notes what is done."""

    def __init__(
        self,
        failure: BaseException | None = None,
        completed: bool = False,
        found: Found | None = None,
        path: Path | None = None,
    ) -> None:
        self.done: list[str] = []
        self.warnings: list[str] = []
        super().__init__(path, self.warnings)
        self._failure_to_come = failure
        self._had_completed = completed
        self._found = found or Found()

    async def _carry_out(self) -> None:
        if self._failure_to_come is not None:
            raise self._failure_to_come

    async def _break_off(self) -> bool:
        self.done.append("broken off")
        return self._had_completed

    async def _guest_now(self) -> Found:
        self.done.append("asked")
        return self._found

    async def _complete(self) -> str:
        result = await self._record(Outcome.COMPLETED)
        return "; ".join(("completed", *result.warnings))

    async def _result(self, outcome: Outcome, error: str) -> MigrationResult:
        self.done.append(f"{outcome.value}: {error}")
        return MigrationResult(Mode.RELAY, "pagethrift", outcome, False, 0.0, 1.0, 0.3, 1.0, error=error)


def test_one_that_completes_is_recorded() -> None:
    course = Scripted()
    assert asyncio.run(course.run()) == "completed"
    assert course.done == ["completed: "]


def test_an_error_leaves_after_all_else_with_where_the_guest_is() -> None:
    course = Scripted(LinkError("the link broke"))
    with pytest.raises(LinkError) as caught:
        asyncio.run(course.run())
    line = "the link broke; the guest is there"
    assert str(caught.value) == line
    assert course.done == ["broken off", "asked", f"failed: {line}"]


def test_what_nobody_foresaw_does_not_hide_the_guest() -> None:
    with pytest.raises(PagethriftError, match="the guest is there"):
        asyncio.run(Scripted(ZeroDivisionError("by zero")).run())


def test_somebody_must_act_is_another_error() -> None:
    with pytest.raises(GuestError, match=r"^the link broke; the guest is there$"):
        asyncio.run(Scripted(LinkError("the link broke"), found=Found(at_one_end=False)).run())
    error = located(LinkError("a"), Found(at_one_end=False), "", "b")
    assert (type(error), str(error)) == (GuestError, "a; b; the guest is there")
    error = located(LinkError("a"), Found(), "", "b")
    assert (type(error), str(error)) == (LinkError, "a; b; the guest is there")


def test_nobody_is_asked_where_a_guest_is_that_ended() -> None:
    course = Scripted(SourceEnded("it was powered off"))
    with pytest.raises(SourceEnded, match=r"^it was powered off$"):
        asyncio.run(course.run())
    assert course.done == ["broken off", "failed: it was powered off"]


@pytest.mark.parametrize("failure", [LinkError("too late"), asyncio.CancelledError()])
def test_one_that_had_completed_all_the_same_is_completed(failure: BaseException) -> None:
    course = Scripted(failure, completed=True)
    assert asyncio.run(course.run()) == "completed"
    assert course.warnings == (["too late"] if isinstance(failure, LinkError) else [])


def test_an_interrupted_one_says_where_the_guest_is() -> None:
    course = Scripted(asyncio.CancelledError())

    async def run() -> None:
        with pytest.raises(asyncio.CancelledError) as caught:
            await course.run()
        assert str(caught.value) == "the guest is there"

    asyncio.run(run())
    assert course.done == ["broken off", "asked", "cancelled: interrupted; the guest is there"]


def test_the_result_is_written_whatever_the_outcome(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(LinkError):
        asyncio.run(Scripted(LinkError("the link broke"), path=path).run())
    assert MigrationResult.from_json(path.read_text()).outcome is Outcome.FAILED
    nowhere = tmp_path / "none" / "result.json"
    assert "the result could not be written to " in asyncio.run(Scripted(path=nowhere).run())
