"""Errors that nobody foresaw, such as no memory: the line says where the guest is all the same."""

from __future__ import annotations

import asyncio

import pytest

from pagethrift.errors import GuestError, PagethriftError
from pagethrift.live.migrate import migrate
from pagethrift.model.facts import StopDecision, StopFacts
from pagethrift.model.result import Outcome
from tests.qemu.live.pair import After, Pair


class Faulty:
    """A stop rule that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def decide(self, facts: StopFacts) -> StopDecision:
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero (a fault of pagethrift"),
        (OSError(24, "Too many open files"), "[Errno 24] Too many open files"),
    ],
)
def test_before_the_source_has_completed(pair: Pair, error: Exception, said: str) -> None:
    with pytest.raises(PagethriftError) as caught:
        asyncio.run(migrate(pair.options(), decider=Faulty(error)))
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith("the guest runs on at the source")
    assert pair.states()[0] == "running"
    assert pair.parameter("downtime-limit") == 300
    assert not [c for c in pair.source.qmp.execute("query-migrate-capabilities") if c["state"]]


def test_after_the_source_has_completed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pagethrift.live.destination.Destination._start", fail)
    with pytest.raises(GuestError) as caught:
        asyncio.run(migrate(pair.options(), decider=After(round=1)))
    assert str(caught.value).startswith(
        "out of memory; the guest runs at neither end (the source says postmi"
    )
    assert pair.states() == ("postmigrate", "paused")


def test_after_the_destination_runs_the_guest(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pagethrift.live.migrate.build_result", fail)
    with pytest.raises(PagethriftError, match=r"^out of memory; the guest runs at the destination$"):
        asyncio.run(migrate(pair.options(), decider=After(round=1)))
    assert pair.states() == ("postmigrate", "running")


def test_without_the_destinations_monitor_a_warning_says_that_nobody_asked(pair: Pair) -> None:
    listens = f"unix:{pair.folder}/link.sock"
    pair.destination.qmp.execute("migrate-incoming", uri=listens)
    result = asyncio.run(migrate(pair.options(destination_qmp=None), decider=After(round=1)))
    assert result.outcome is Outcome.COMPLETED
    assert (
        "without --destination-qmp nobody asked the destination: see that its guest runs" in result.warnings
    )
    assert pair.states() == ("postmigrate", "paused")
