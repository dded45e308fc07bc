"""``pagethrift record``: what is asked of the recorder and what is said; tests/qemu/test_record.py."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pagethrift.cli import record
from pagethrift.errors import UsageError
from pagethrift.live.dry_run import QmpGuest, Watched
from pagethrift.live.recording import RecordOptions, RecordProgress
from pagethrift.trace.format import DeltaSource, Sweep, TraceHeader

HEADER = TraceHeader(
    8192, (("pc.ram", 8192),), 0.2, (Sweep(0.0, 1.0, 2), Sweep(1.0, 0.1, 1), Sweep(1.2, 0.1, 1)),
    DeltaSource.SUBPAGES, qemu_version="10.0.2",
)  # fmt: skip
Show = Callable[[RecordProgress], None]


class Recorder:
    """Writes a trace of three bytes, tells of ``looks`` and returns ``header``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: list[RecordOptions] = []
        self.looks: list[RecordProgress] = []
        self.header = HEADER
        monkeypatch.setattr(record, "record_live", self)

    async def __call__(self, guest: Watched, options: RecordOptions, progress: Show) -> TraceHeader:
        assert guest == QmpGuest("vm.qmp")
        self.options.append(options)
        options.out.write_bytes(b"abc")
        for look in self.looks:
            progress(look)
        return self.header


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    monkeypatch.chdir(tmp_path)
    return Recorder(monkeypatch)


def call(*arguments: str) -> Result:
    arguments = ("--qmp", "vm.qmp", "--out", "t.parquet", *arguments)
    return CliRunner().invoke(record.app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ((), {}),
        (("--seconds", "2min", "--interval", "50ms"), {"seconds": 120.0, "interval_s": 0.05}),
        (("--interval", "0"), {"interval_s": 0.0}),
        (("--exact",), {"exact_deltas": True}),
        (("--estimate", "--workload", "idle"), {"exact_deltas": False, "workload": "idle"}),
        (("--page-classes", "flags"), {"page_classes": Path("flags")}),
    ],
)
def test_what_the_recorder_is_asked_for(
    recorder: Recorder, arguments: tuple[str, ...], changes: dict[str, Any]
) -> None:
    assert call(*arguments).exit_code == 0
    assert recorder.options == [replace(RecordOptions(Path("t.parquet")), **changes)]


def test_people_read_what_was_recorded_and_warnings(recorder: Recorder) -> None:
    recorder.header = replace(HEADER, warnings=("slow",))
    done = call()
    assert done.stdout == "t.parquet: 3 sweeps, 4 rows, 3 B, deltas subpages\n"
    assert done.stderr == "pagethrift: warning: slow\n"


def test_programs_read_the_same(recorder: Recorder) -> None:
    recorder.looks = [RecordProgress(1.0, 1, 2, 100, 2)]
    first, last = (json.loads(line) for line in call("--json").stdout.splitlines())
    assert first == {
        "type": "progress", "elapsed_s": 1.0, "sweeps": 1, "rows": 2, "bytes_written": 100, "last_rows": 2,
    }  # fmt: skip
    assert last == {
        "type": "result", "path": "t.parquet", "sweeps": 3, "rows": 4, "memory_bytes": 8192, "seconds": 1.2,
        "delta_source": "subpages", "qemu_version": "10.0.2", "warnings": [],
    }  # fmt: skip


def test_the_first_sweep_is_told_at_once_and_later_ones_every_two_seconds(recorder: Recorder) -> None:
    times = ((0.5, 1), (1.0, 2), (2.4, 9), (2.5, 10), (4.0, 20), (4.6, 21))
    recorder.looks = [RecordProgress(at_s, sweeps, 7, 1, 3) for at_s, sweeps in times]
    *lines, _ = call().stdout.splitlines()
    assert [line.split(" pages")[0] for line in lines] == [
        "0 s, 1 sweeps, 3", "2 s, 10 sweeps, 3", "5 s, 21 sweeps, 3",
    ]  # fmt: skip
    assert "7 rows so far" in lines[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_early_and_keeps_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def waits(guest: Watched, options: RecordOptions, progress: Show) -> TraceHeader:
        options.out.write_bytes(b"abc")
        os.kill(os.getpid(), number)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(30)
        return replace(HEADER, warnings=("interrupted",))

    monkeypatch.setattr(record, "record_live", waits)
    done = call()
    assert done.exit_code == 130
    assert "3 sweeps" in done.stdout


def test_refusals() -> None:
    with pytest.raises(UsageError, match="'soon' is not a duration"):
        call("--seconds", "soon")
    with pytest.raises(UsageError, match="positive"):
        call("--seconds", "0s")
