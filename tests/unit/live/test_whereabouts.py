"""Where the guest is: from what both ends say, in words that never start it twice."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pagethrift.live import whereabouts as module
from pagethrift.live.host import QemuProcess
from pagethrift.live.qmp import QmpMonitor
from pagethrift.live.whereabouts import EndState, Whereabouts, ask, whereabouts
from tests.unit.live.monitors import fake_monitor, greeting

SILENT, ENDED = "", "ended"


def end(path: str, said: str) -> EndState:
    return EndState(path, ended=True) if said == ENDED else EndState(path, said)


def seen(source: str, destination: str | None, all_sent: bool, ran: bool = True) -> Whereabouts:
    other = None if destination is None else end("d.qmp", destination)
    return Whereabouts(end("s.qmp", source), other, all_sent, ran)


@pytest.mark.parametrize(
    ("source", "destination", "all_sent", "at_one_end", "says"),
    [
        ("running", "inmigrate", False, True, "the guest runs on at the source"),
        ("running", ENDED, True, True, "the guest runs on at the source"),
        ("postmigrate", "running", True, True, "the guest runs at the destination"),
        (ENDED, "running", True, True, "the guest runs at the destination"),
        ("running", "running", True, False, "BOTH ends: end the destination QEMU .*quit to d.qmp"),
        ("postmigrate", "paused", True, False, r"neither end .*: send cont to the destination \(d.qmp\)"),
        ("postmigrate", "inmigrate", False, False, r"neither end .*: send cont to the source \(s.qmp\)$"),
        ("postmigrate", ENDED, True, False, r"destination has ended\): send cont to the source \(s.qmp\)$"),
        (ENDED, ENDED, True, False, "start it anew"),
        (ENDED, "inmigrate", False, False, r"source has ended, .*: start it anew"),
        (
            "postmigrate",
            SILENT,
            True,
            False,
            "does not answer.*once the destination has ended, never to both",
        ),
        ("running", None, False, True, "^the guest runs on at the source$"),
        ("running", None, True, False, "destination, which may run it too"),
        ("postmigrate", None, False, False, "source says postmigrate; the destination cannot run the guest"),
        (SILENT, None, True, False, "source does not answer.*send cont to one end, never to both"),
    ],
)
def test_a_guest_that_ran(
    source: str, destination: str | None, all_sent: bool, at_one_end: bool, says: str
) -> None:
    found = seen(source, destination, all_sent)
    assert found.at_one_end == at_one_end
    assert_says(found, says)


@pytest.mark.parametrize(
    ("source", "destination", "all_sent", "at_one_end", "says"),
    [
        ("paused", "inmigrate", False, True, "the guest stays at the source, which says paused"),
        ("paused", None, False, True, "the guest stays at the source, which says paused"),
        (ENDED, "inmigrate", False, False, "start it anew"),
        ("postmigrate", "running", True, True, "the guest runs at the destination"),
    ],
)
def test_a_guest_that_was_paused(
    source: str, destination: str | None, all_sent: bool, at_one_end: bool, says: str
) -> None:
    found = seen(source, destination, all_sent, ran=False)
    assert found.at_one_end == at_one_end
    assert_says(found, says)


def assert_says(found: Whereabouts, says: str) -> None:
    sentence = found.sentence()
    assert re.search(says, sentence), sentence
    assert "\n" not in sentence


def asked(folder: Path, *answers: Any, gone: bool = False, process: QemuProcess | None = None) -> EndState:
    """Ask a QEMU that gives such answers to query-status; ``gone``: it hung up in between."""

    async def run() -> EndState:
        path = folder / "qmp"
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(connected(path, answers[0]))
            first.process = process
            if gone:
                await first.close()
                path.unlink()
                for answer in answers[1:]:
                    await stack.enter_async_context(
                        fake_monitor(path, greeting(10, 0), {"query-status": answer})
                    )
            return await ask(first)

    return asyncio.run(run())


@asynccontextmanager
async def connected(path: Path, answer: Any) -> AsyncIterator[QmpMonitor]:
    async with fake_monitor(path, greeting(10, 0), {"query-status": answer}):
        monitor = await QmpMonitor.connect(str(path))
        yield monitor
        await monitor.close()


def test_an_end_is_asked_and_once_more_when_it_hung_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.2)
    path = str(tmp_path / "qmp")
    assert asked(tmp_path, {"status": "paused"}) == EndState(path, "paused")
    assert asked(tmp_path, {}, {"status": "running"}, gone=True) == EndState(path, "running")
    assert asked(tmp_path, {}, gone=True) == EndState(path)
    assert asked(tmp_path, None) == EndState(path), "it hears, and does not answer"


def test_a_process_that_is_gone_has_ended_and_one_that_hung_up_has_not(tmp_path: Path) -> None:
    path = str(tmp_path / "qmp")
    another = QemuProcess(os.getpid(), "0")
    assert asked(tmp_path, {}, gone=True, process=another) == EndState(path, ended=True)
    stat = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    itself = QemuProcess(os.getpid(), stat[19])
    assert asked(tmp_path, {}, gone=True, process=itself) == EndState(path)


def test_both_ends_are_asked(tmp_path: Path) -> None:
    async def run() -> tuple[Whereabouts, Whereabouts]:
        async with (
            connected(tmp_path / "s", {"status": "postmigrate"}) as source,
            connected(tmp_path / "d", {"status": "running"}) as destination,
        ):
            return (
                await whereabouts(source, destination, True, False),
                await whereabouts(source, None, False, True),
            )

    both, alone = asyncio.run(run())
    source, destination = (
        EndState(str(tmp_path / "s"), "postmigrate"),
        EndState(str(tmp_path / "d"), "running"),
    )
    assert both == Whereabouts(source, destination, True, False)
    assert alone == Whereabouts(source, None, False, True)
