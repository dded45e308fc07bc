"""``pagethrift restore``: what is put back at which QEMU; tests/qemu/live/test_guest_runs_once.py."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pagethrift.cli.restore import app
from pagethrift.errors import QmpError, UsageError
from pagethrift.live.switchover import DEFAULTS, LONGEST_LIMIT_MS
from tests.unit.live.monitors import fake_monitor, greeting

OURS = {"downtime-limit": LONGEST_LIMIT_MS, "max-bandwidth": 0}
"""what a killed pagethrift leaves at a QEMU 7.2"""


@contextmanager
def qemu(
    path: Path,
    parameters: dict[str, Any],
    migration: str = "none",
    refusals: dict[str, list[str]] | None = None,
) -> Iterator[list[tuple[str, Any]]]:
    """Answer at ``path`` from a thread; yield the commands it is given."""
    asked: list[tuple[str, Any]] = []
    answers = {
        "query-migrate": {"status": migration},
        "query-status": {"status": "running"},
        "query-migrate-parameters": parameters,
        "query-migrate-capabilities": [
            {"capability": "events", "state": True}, {"capability": "xbzrle", "state": True},
        ],
    }  # fmt: skip
    ready, end = threading.Event(), threading.Event()

    async def serve() -> None:
        async with fake_monitor(path, greeting(), answers, refusals, asked):
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield asked
    finally:
        end.set()
        thread.join(10)


def restore(path: Path, *arguments: str) -> str:
    return CliRunner().invoke(app, ["--qmp", str(path), *arguments], catch_exceptions=False).stdout


def changes(asked: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [each for each in asked if each[0].startswith("migrate-set")]


def test_what_only_pagethrift_sets_is_replaced_by_qemus_defaults(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    restored = {name: value for name, value in DEFAULTS.items() if name in OURS}
    with qemu(path, OURS) as asked:
        found = json.loads(restore(path, "--json"))
    assert "a killed pagethrift" in found["found"]
    assert found["restored"] == restored | {"events": False}
    assert changes(asked) == [
        ("migrate-set-parameters", restored),
        ("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": False}]}),
    ]


def test_people_read_what_was_found_and_each_value(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with qemu(path, OURS):
        first, *values = restore(path).splitlines()
    assert first.startswith(f"source {path}: downtime-limit {LONGEST_LIMIT_MS} ms")
    assert f"downtime-limit: {DEFAULTS['downtime-limit']}" in values
    assert values[-2:] == ["events: False", "the guest runs on at the source"]


def test_the_operators_settings_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with qemu(path, {"downtime-limit": 300}) as asked:
        assert restore(path).startswith("nothing to restore")
    with qemu(path, {"downtime-limit": 300}):
        found = json.loads(restore(path, "--json"))
    assert (found["found"], found["restored"], found["source"]) == ("", {}, "running")
    assert changes(asked) == []


def test_a_running_migration_keeps_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with qemu(path, OURS, migration="active") as asked, pytest.raises(QmpError, match="migration is running"):
        restore(path)
    assert changes(asked) == []


def test_nothing_is_started_where_nobody_asks_the_destination(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with qemu(path, OURS) as asked, pytest.raises(UsageError, match="--start: give --destination-qmp too"):
        restore(path, "--start")
    assert asked == []


def test_a_destination_that_does_not_answer_keeps_nothing_from_being_put_back(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with qemu(path, OURS) as asked:
        said = restore(path, "--destination-qmp", str(tmp_path / "gone"))
    assert "the guest runs on at the source" in said
    assert len(changes(asked)) == 2


def test_a_refusal_is_said(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    refusals = {"migrate-set-parameters": ["not now"]}
    with qemu(path, OURS, refusals=refusals), pytest.raises(QmpError, match=r"not restored: .*not now"):
        restore(path)
