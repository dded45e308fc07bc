"""Recording a real QEMU with a tiny guest whose every write is known; the guest must not notice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from pagethrift.errors import PagethriftError, QmpError, UsageError
from pagethrift.live.dry_run import QmpGuest
from pagethrift.live.recorder import record
from pagethrift.live.recording import RecordOptions, RecordProgress
from pagethrift.simulator.simulate_options import SimulateOptions
from pagethrift.simulator.virtual_link import LinkSpec
from pagethrift.simulator.virtual_migration import simulate
from pagethrift.strategies.table import strategy
from pagethrift.trace.format import DeltaSource, TraceHeader
from pagethrift.trace.read import read_trace
from tests.qemu.machines import Machine, QemuLike, source
from tests.qemu.tiny import MIB, PAGE_BYTES, Pattern, Region, TinyGuest

PAGES = 64
ORDER = (
    Pattern.ZEROING, Pattern.SILENT, Pattern.FLIP, Pattern.COUNTER, Pattern.RANDOM_WORDS, Pattern.STATIC,
    Pattern.RANDOM_PAGES,
)  # fmt: skip
"""the last dirty pages of a round must not be zero ones: QEMU could not be held on them (live/tap.py)"""
REGIONS = {
    pattern: Region(
        pattern, 4 * MIB + i * PAGES * PAGE_BYTES, PAGES, words=16 if pattern is Pattern.SILENT else 512
    )
    for i, pattern in enumerate(ORDER)
}
BUSY = TinyGuest(tuple(REGIONS.values()), writes_per_s=1500)
IDLE = TinyGuest((Region(Pattern.STATIC, 4 * MIB, 64),))


@contextmanager
def guest(
    binary: QemuLike, folder: Path, tiny: TinyGuest, machine_type: str = "pc"
) -> Iterator[tuple[Machine, RecordOptions]]:
    """Start a guest with a second monitor; its settings and its pulse must be the same at the end."""
    extra = ("-qmp", f"unix:{folder}/record.qmp,server=on,wait=off")
    with source(binary, tiny, folder, machine_type, extra=extra) as machine:
        machine.wait_ready()
        before = settings(machine)
        yield machine, RecordOptions(folder / "t.parquet", 2.0, 0.1)
        assert settings(machine) == before
        assert machine.qmp.execute("query-status")["status"] == "running"
        if tiny is BUSY:
            machine.wait_sweeps(machine.sweeps() + 2)


async def recorded(
    options: RecordOptions, seen: Callable[[RecordProgress], None] = lambda _: None
) -> TraceHeader:
    """Record the guest of `guest`."""
    return await record(QmpGuest(str(options.out.parent / "record.qmp")), options, seen)


def settings(machine: Machine) -> tuple[object, object]:
    return (
        machine.qmp.execute("query-migrate-parameters"),
        machine.qmp.execute("query-migrate-capabilities"),
    )


class Columns:
    """The rows of a trace after its first two sweeps, by region."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        later = table["sweep"].to_numpy() >= 2
        self._columns = {
            name: table[name].to_numpy(zero_copy_only=False)[later] for name in table.column_names
        }

    def of(self, pattern: Pattern) -> dict[str, npt.NDArray[Any]]:
        region = REGIONS[pattern]
        page, block = self._columns["page"], self._columns["block"]
        inside = (block == 0) & (page >= region.start // PAGE_BYTES) & (page < region.stop // PAGE_BYTES)
        return {name: column[inside] for name, column in self._columns.items()}

    def contents(self, pattern: Pattern) -> dict[int, list[int]]:
        """The contents of each page, in order."""
        rows = self.of(pattern)
        found: dict[int, list[int]] = {}
        for page, content in zip(rows["page"].tolist(), rows["content"].tolist(), strict=True):
            found.setdefault(page, []).append(content)
        return found


def bits(masks: npt.NDArray[np.generic]) -> list[int]:
    return [int(mask).bit_count() for mask in masks.tolist()]


def test_every_pattern_is_seen_as_it_is(qemu_binary: QemuLike, short_path: Path) -> None:
    seen: list[RecordProgress] = []
    with guest(qemu_binary, short_path, BUSY) as (machine, options):
        first = machine.sweeps()
        header = asyncio.run(recorded(replace(options, workload="tiny"), seen.append))
        sweeps_of_guest = machine.sweeps() - first + 1
        assert "STOP" not in [event.name for event in machine.qmp.events]
    check_header(header, seen)
    rows = Columns(options.out)
    assert len(rows.of(Pattern.STATIC)["page"]) == 0
    silent = rows.of(Pattern.SILENT)
    assert len(silent["page"]) > PAGES
    assert not silent["changed"].any()
    assert not silent["delta_bytes"].any()
    for pattern in (Pattern.SILENT, Pattern.FLIP, Pattern.COUNTER):
        for contents in rows.contents(pattern).values():
            assert len(contents) <= sweeps_of_guest + 1
    for contents in rows.contents(Pattern.SILENT).values():
        assert len(set(contents)) == 1
    flips = [len(set(contents)) for contents in rows.contents(Pattern.FLIP).values()]
    assert min(flips) == 2, "A-B-A shows as two contents that take turns"
    assert np.mean(flips) < 2.2  # now and then a page is read half flipped
    counter = rows.of(Pattern.COUNTER)
    changed = counter["changed"] != 0
    assert changed.mean() > 0.6  # less than all where the machine is busy: read late, come again unchanged
    assert set(bits(counter["changed"][changed])) == {1}
    subpage = (counter["page"][changed].astype(np.int64) % 512) * 8 // 256
    assert np.array_equal(counter["changed"][changed], 1 << subpage)
    assert counter["delta_bytes"].max() <= 12
    for contents in rows.contents(Pattern.COUNTER).values():
        kept = [content for content, after in pairwise(contents) if content != after]
        assert len(set(kept)) == len(kept), "a counter never comes back"
    check_random_patterns(rows)


def check_header(header: TraceHeader, seen: list[RecordProgress]) -> None:
    assert header.delta_source is DeltaSource.EXACT
    assert header.workload == "tiny"
    assert dict(header.blocks)["pc.ram"] == 64 * MIB
    assert header.qemu_version
    assert header.accelerator == "tcg"
    assert not header.warnings
    began_s = np.array([sweep.began_s for sweep in header.sweeps])
    assert 1.0 < began_s[-1] - began_s[1] < 5.0  # 2 s; a busy machine has few, long sweeps
    assert np.median(np.diff(began_s[1:])) > 0.09
    assert seen[-1].sweeps == len(header.sweeps)
    assert seen[-1].rows == sum(sweep.rows for sweep in header.sweeps)


def check_random_patterns(rows: Columns) -> None:
    words = rows.of(Pattern.RANDOM_WORDS)
    assert 0 < np.mean(bits(words["changed"])) < 4
    pages = rows.of(Pattern.RANDOM_PAGES)
    assert np.mean(pages["changed"] == 0xFFFF) > 0.8
    assert np.median(pages["delta_bytes"]) == PAGE_BYTES
    zeroing = rows.of(Pattern.ZEROING)
    assert 0.3 < zeroing["zero"].mean() < 0.7
    assert not zeroing["sparse_bytes"][zeroing["zero"].astype(bool)].any()
    states = [len(set(contents) | {0}) for contents in rows.contents(Pattern.ZEROING).values()]
    assert min(states) == 2
    assert np.mean(states) < 2.2  # now and then a page is read half zeroed


def test_a_recorded_guest_can_be_simulated(qemu_10: QemuLike, short_path: Path) -> None:
    with guest(qemu_10, short_path, BUSY) as (machine, options):
        machine.qmp.set_capabilities(multifd=True)
        asyncio.run(recorded(replace(options, exact_deltas=False)))
        assert {"capability": "multifd", "state": True} in settings(machine)[1]  # type: ignore[operator]
        machine.qmp.set_capabilities(multifd=False)
    trace = read_trace(options.out)
    assert trace.header.delta_source is DeltaSource.SUBPAGES
    assert (trace.content >= 0).all()
    sent = {}
    for name in ("kvm-default", "thesis", "pagethrift"):
        link = LinkSpec(4e6)
        result = simulate(trace, strategy(name), SimulateOptions(link, force_after_s=10.0, chunk_pages=0))
        assert result.stale_pages == 0
        sent[name] = result.transferred_bytes
    assert sent["pagethrift"] < sent["kvm-default"]


@pytest.mark.parametrize("machine_type", ["pc", "pc-q35-7.2"])
def test_an_idle_guest_is_never_moved(machine_type: str, qemu_binary: QemuLike, short_path: Path) -> None:
    with guest(qemu_binary, short_path, IDLE, machine_type) as (machine, options):
        time.sleep(0.3)
        version = machine.qmp.execute("query-version")["qemu"]
        # Neither can be told to wait for an acknowledgement.
        old, new = version["major"] < 8, (version["major"], version["minor"]) >= (11, 1)
        if old or (new and machine_type == "pc"):
            with pytest.raises(UsageError, match="machine type before 11.1" if new else "idle"):
                asyncio.run(recorded(options))
            assert not options.out.exists()
            return
        header = asyncio.run(recorded(options))
        assert not header.warnings
        assert sum(sweep.rows for sweep in header.sweeps[2:]) == 0
        began_s = [sweep.began_s for sweep in header.sweeps[1:]]
        span_s = began_s[-1] - began_s[0]
        assert span_s > 1.0
        # An idle QEMU goes round thousands of times in that; one empty sweep too many does no harm.
        assert len(began_s) < 1.5 * span_s / 0.1
        names = [event.name for event in machine.qmp.events]
        assert "STOP" not in names
        assert names.count("MIGRATION_PASS") < 200 * len(header.sweeps), "QEMU ran free: thousands a second"


def test_interrupted_by_ctrl_c(qemu_10: QemuLike, short_path: Path) -> None:
    with guest(qemu_10, short_path, BUSY) as (machine, options):
        command = [sys.executable, "-m", "pagethrift", "record", "--qmp", str(short_path / "record.qmp")]
        command += ["--out", str(options.out), "--seconds", "600s", "--interval", "100ms"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        machine.qmp.event("MIGRATION_PASS", timeout_s=60)
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert "interrupted" in err
        assert "sweeps" in out
    assert len(read_trace(options.out).header.sweeps) >= 3


def test_refusals_leave_everything_as_it_was(qemu_10: QemuLike, short_path: Path) -> None:
    with guest(qemu_10, short_path, BUSY) as (machine, options):
        wrong: list[tuple[RecordOptions, type[PagethriftError], str]] = [
            (replace(options, out=short_path / "no" / "t"), UsageError, "folder"),
            (replace(options, seconds=0), UsageError, "positive"),
            (replace(options, page_classes=short_path / "absent"), UsageError, "kpageflags"),
        ]
        for bad, kind, says in wrong:
            with pytest.raises(kind, match=says):
                asyncio.run(recorded(bad))
        with pytest.raises(QmpError, match="does not exist"):
            asyncio.run(record(QmpGuest(str(short_path / "absent")), options))
        machine.qmp.set_capabilities(xbzrle=True)
        with pytest.raises(QmpError, match="xbzrle"):
            asyncio.run(recorded(options))
        machine.qmp.set_capabilities(xbzrle=False)
        machine.qmp.execute("stop")
        with pytest.raises(QmpError, match="paused"):
            asyncio.run(recorded(options))
        machine.qmp.execute("cont")
        assert not options.out.exists()
        assert not list(short_path.glob("*.part"))
