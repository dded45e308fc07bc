"""What is started after a kill: one guest, in one state of both ends; tests/qemu/live/test_restore.py."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import QmpError
from pagethrift.live.destination import Destination
from pagethrift.live.restore import Restored, restore
from tests.unit.live.monitors import fake_monitor, greeting

SENT = {"status": "completed", "ram": {"total": 1 << 20}}
RECEIVED = {"status": "completed"}
SOURCES = [("running", {"status": "failed"}), ("running", SENT), ("postmigrate", SENT), ("paused", RECEIVED)]
DESTINATIONS = [
    *(("running", RECEIVED), ("paused", RECEIVED), ("prelaunch", RECEIVED)),
    *(("paused", {"status": "failed"}), ("paused", SENT), ("postmigrate", SENT)),
]


def answers(state: str, migration: dict[str, Any], kind: str = "pc") -> dict[str, Any]:
    return {
        "query-status": {"status": state},
        "query-migrate": migration,
        "query-migrate-parameters": {"downtime-limit": 300},
        "query-migrate-capabilities": [],
        "query-memory-size-summary": {"base-memory": 1 << 20},
        "query-cpus-fast": [{"qom-path": "/cpu"}],
        "qom-get": kind,
        "qom-list": [],
        "human-monitor-command": "",
    }


def started(
    folder: Path, source: dict[str, Any], destination: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[Restored, bool]:
    """Restore with ``--start``; return what was found, and whether the destination was told to start."""
    told: list[bool] = []

    async def take_over(self: Destination, start_guest: bool) -> float:
        told.append(start_guest)
        destination["query-status"] = {"status": "running"}
        return 0.0

    async def run() -> Restored:
        async with (
            fake_monitor(folder / "s", greeting(), source),
            fake_monitor(folder / "d", greeting(), destination),
        ):
            return await restore(str(folder / "s"), str(folder / "d"), start=True)

    monkeypatch.setattr(Destination, "take_over", take_over)
    return asyncio.run(run()), told == [True]


@pytest.mark.parametrize(("source", "destination"), [*itertools.product(SOURCES, DESTINATIONS)])
def test_only_a_guest_that_was_handed_over_and_runs_nowhere_is_started(
    source: tuple[str, dict[str, Any]],
    destination: tuple[str, dict[str, Any]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, told = started(folder, answers(*source), answers(*destination), monkeypatch)
    assert told == (source == ("postmigrate", SENT) and destination in DESTINATIONS[1:3])
    assert found.started == told
    if told:
        assert (found.guest, found.in_doubt) == ("the guest runs at the destination", False)
    if source[0] == destination[0] == "running":
        assert "BOTH" in found.guest
        assert found.in_doubt


def test_another_machines_guest_is_not_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = answers("postmigrate", SENT)
    with pytest.raises(QmpError, match=r"not started, it holds another guest: machine type: .*pc.*q35"):
        started(folder, source, answers("paused", RECEIVED, "q35"), monkeypatch)
