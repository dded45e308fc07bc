"""Migrate one guest that never rests, again and again, and see that nothing wears out.

The guest moves to a fresh QEMU; the one it left ends; then the next hop. One process drives all migrations,
with four strategies in turn and multifd at the source in every third hop. After each hop the guest must run
at exactly one end, sweep on, and hold the content that it never writes; in every tenth both ends are paused
and their RAM is compared byte by byte. What the process holds is counted after each hop.

    python -m tests.qemu.soak --migrations 200 --out results/soak.json

Exit code 1 when a migration failed, RAM differed, or something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import psutil

from pagethrift.errors import PagethriftError
from pagethrift.lab.guest.packages import QemuSeries
from pagethrift.live.host import QemuProcess
from pagethrift.live.migrate import migrate
from pagethrift.live.migrate_options import MigrateOptions, PlainFeatures
from pagethrift.model.result import MigrationResult, Outcome
from pagethrift.process_memory import memory_bytes
from pagethrift.state_folder import state_folder
from tests.qemu import machines
from tests.qemu.live.pair import WRITER
from tests.qemu.tiny import Pattern, content

STRATEGIES = ("pagethrift", "kvm-default", "thesis", "cloudnet")
MULTIFD_EVERY, COMPARE_EVERY = 3, 10
"""hops; 3 has no divisor in common with the number of strategies, so that each of them meets multifd"""
SETTLED, RSS_SETTLED = 5, 10
"""hops until everything that is loaded once is loaded, and until the allocator has its arenas"""
GROWTH, GROWTH_BYTES = 0.10, 8 << 20
"""what the resident memory may grow by after RSS_SETTLED"""
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """What this process and its machine hold after a hop."""

    rss_bytes: int
    descriptors: int
    threads: int
    children: int
    """the QEMU that runs the guest is one"""
    temporary: int
    """files and folders in the temporary folder, which is the soak's own"""
    state_files: int
    """files in the state folder (/run/pagethrift) for QEMUs of this soak"""
    namespaces: int
    """named network namespaces of the machine, whoever made them"""


FLAT = ("descriptors", "threads", "children", "temporary", "state_files")
"""equal after hop SETTLED and at the end; others may make namespaces meanwhile"""


@dataclass(frozen=True, slots=True)
class Hop:
    """One migration and what was held after it."""

    strategy: str
    multifd: bool
    seconds: float
    """from the start of `migrate` to its result"""
    downtime_s: float | None
    compared: bool
    held: Held


@dataclass(slots=True)
class Soak:
    """The record of all hops."""

    hops: list[Hop] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    def judged(self) -> list[str]:
        """Return the faults, those that show only in the course of the hops included."""
        faults = list(self.faults)
        if len(self.hops) > SETTLED:
            first, last = self.hops[SETTLED - 1].held, self.hops[-1].held
            for name in FLAT:
                before, after = getattr(first, name), getattr(last, name)
                if after > before:
                    faults.append(f"{name}: {before} after hop {SETTLED}, {after} at the end")
        if len(self.hops) > RSS_SETTLED:
            before, after = self.hops[RSS_SETTLED - 1].held.rss_bytes, self.hops[-1].held.rss_bytes
            if after - before >= GROWTH * before + GROWTH_BYTES:
                faults.append(f"resident memory: {before} bytes after hop {RSS_SETTLED}, {after} at the end")
        return faults

    def summary(self) -> str:
        """Return one line."""
        hops, faults = self.hops, self.judged()
        if not hops:
            return f"no migration; {'; '.join(faults)}"
        compared = sum(hop.compared for hop in hops)
        first, last = hops[min(RSS_SETTLED, len(hops)) - 1].held, hops[-1].held
        return (
            f"{len(hops)} migrations in {self.wall_s:.0f} s, RAM compared {compared} times,"
            f" {len(faults)} faults; RSS {first.rss_bytes / 2**20:.1f} -> {last.rss_bytes / 2**20:.1f} MiB,"
            f" {last.descriptors} descriptors, {last.threads} threads"
        )

    def document(self, asked: int, series: str) -> dict[str, Any]:
        """Return the result file: a column for each field, an entry for each hop."""
        columns: dict[str, list[Any]] = {
            "seconds": [round(hop.seconds, 3) for hop in self.hops],
            "downtime_s": [hop.downtime_s and round(hop.downtime_s, 4) for hop in self.hops],
            "strategy": [hop.strategy for hop in self.hops],
            "multifd": [int(hop.multifd) for hop in self.hops],
            "compared": [int(hop.compared) for hop in self.hops],
        }
        for each in fields(Held):
            columns[each.name] = [getattr(hop.held, each.name) for hop in self.hops]
        return {
            "kind": "pagethrift-soak",
            "version": 1,
            "qemu": series,
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "asked": asked,
            "wall_s": round(self.wall_s, 1),
            "faults": self.judged(),
            "hops": columns,
        }


def soak(
    binary: machines.QemuLike,
    folder: Path,
    migrations: int,
    told: Callable[[int, Hop], None] = lambda number, hop: None,
) -> Soak:
    """Carry out ``migrations`` hops in ``folder`` (a short path). Ends early when the guest is lost."""
    record, began_s = Soak(), time.monotonic()
    static = next(region for region in WRITER.regions if region.pattern is Pattern.STATIC)
    untouched = content(static.start, static.pages, 3).tobytes()
    with _own_temporary_folder(folder / "tmp"), ExitStack() as last:
        course = _Course(binary, folder, static.start, untouched)
        last.callback(course.close)
        course.start()
        for number in range(1, migrations + 1):
            try:
                hop = course.hop(number)
            except (PagethriftError, AssertionError, RuntimeError, TimeoutError) as error:
                record.faults.append(f"hop {number}: {error or type(error).__name__}")
                break
            record.hops.append(hop)
            told(number, hop)
    record.wall_s = time.monotonic() - began_s
    return record


class _Course:
    """The QEMU that has the guest, and the way to the next one."""

    def __init__(self, binary: machines.QemuLike, folder: Path, start: int, untouched: bytes) -> None:
        self._binary = binary
        self._folder = folder
        self._static = (start, untouched)
        self._ended: ExitStack = ExitStack()
        self._machine: machines.Machine | None = None
        self._monitor = Path()
        self._processes: set[str] = set()
        """as the state folder's files are named"""
        self._others = set(psutil.Process().children())
        """children that this process had before: other tests may have left some"""

    def start(self) -> None:
        """Start the first QEMU and wait until its guest works."""
        end, place = ExitStack(), self._place(0)
        end.callback(shutil.rmtree, place, ignore_errors=True)
        machine = end.enter_context(machines.source(self._binary, WRITER, place, extra=_free_monitor(place)))
        self._take(machine, place, end)
        machine.wait_ready()

    def hop(self, number: int) -> Hop:
        """Move the guest to a fresh QEMU and end the one it left."""
        source, compared = self._machine, number % COMPARE_EVERY == 0
        assert source is not None
        strategy, multifd = STRATEGIES[number % len(STRATEGIES)], number % MULTIFD_EVERY == 0
        sweeps = source.sweeps()
        with ExitStack() as end:
            place = self._place(number)
            end.callback(shutil.rmtree, place, ignore_errors=True)
            destination = end.enter_context(
                machines.destination(self._binary, WRITER, place, extra=_free_monitor(place))
            )
            options = MigrateOptions(
                source_qmp=str(self._monitor),
                destination=f"unix:{place}/link.sock",
                destination_qmp=str(place / "free.qmp"),
                start_destination=not compared,
                strategy=strategy,
                downtime_limit_s=0.5,
                force_after_s=TIMEOUT_S / 4,
                timeout_s=TIMEOUT_S,
                features=PlainFeatures(multifd_channels=2 if multifd else None),
            )
            began_s = time.monotonic()
            result = asyncio.run(migrate(options))
            seconds = time.monotonic() - began_s
            self._check(source, destination, result, sweeps, compared)
            self._take(destination, place, end.pop_all())
        return Hop(strategy, multifd, seconds, result.downtime_s, compared, self._held())

    def close(self) -> None:
        """End the QEMU that has the guest."""
        self._ended.close()

    def _check(
        self,
        source: machines.Machine,
        destination: machines.Machine,
        result: MigrationResult,
        sweeps: int,
        compared: bool,
    ) -> None:
        """Raise AssertionError or TimeoutError unless all of the guest arrived and it works on, once."""
        assert result.outcome is Outcome.COMPLETED, result.outcome
        if compared:
            assert not _runs(source), "runs at the source after its migration"
            assert not _runs(destination), "runs at a destination that was to be left paused"
            differing = machines.differing_pages(source.dump_ram(), destination.dump_ram())
            assert not differing, f"RAM differs in {len(differing)} pages, first at {differing[0]:#x}"
            destination.qmp.execute("cont")
        assert (_runs(source), _runs(destination)) == (False, True), "the guest does not run at one end"
        now = destination.sweeps()
        assert now >= sweeps, f"sweep {now} after sweep {sweeps}"
        destination.wait_sweeps(now + 1)
        start, untouched = self._static
        assert destination.read(start, len(untouched)) == untouched, "static pages differ"

    def _take(self, machine: machines.Machine, place: Path, end: ExitStack) -> None:
        self._ended.close()
        self._ended, self._machine, self._monitor = end, machine, place / "free.qmp"
        process = QemuProcess.at(machine.process.pid)
        assert process is not None
        self._processes.add(f"{process.pid}-{process.started}")

    def _place(self, number: int) -> Path:
        place = self._folder / f"{number}"
        place.mkdir()
        return place

    def _held(self) -> Held:
        gc.collect()  # what only waits for the collector is no leak
        state = state_folder()
        names = [path.name for path in state.iterdir()] if state else []
        me = psutil.Process()
        return Held(
            rss_bytes=memory_bytes(key="VmRSS"),
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=me.num_threads(),
            children=len(set(me.children()) - self._others),
            temporary=len(os.listdir(tempfile.gettempdir())),
            state_files=sum(name.partition(".")[0] in self._processes for name in names),
            namespaces=len(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else 0,
        )


def _runs(machine: machines.Machine) -> bool:
    return bool(machine.qmp.execute("query-status")["running"])


def _free_monitor(place: Path) -> list[str]:
    return ["-qmp", f"unix:{place}/free.qmp,server=on,wait=off"]


@contextlib.contextmanager
def _own_temporary_folder(path: Path) -> Iterator[None]:
    """Let this process and its children put temporary files here, so that no one else's are counted."""
    path.mkdir()
    before, directory = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"], tempfile.tempdir = str(path), None
    try:
        yield
    finally:
        tempfile.tempdir = directory
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def main(arguments: list[str] | None = None) -> int:
    """Soak; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.qemu.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--migrations", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--qemu", choices=get_args(QemuSeries), default="10.0", help="default 10.0")
    parser.add_argument("--out", type=Path, help="write the result to this file")
    chosen = parser.parse_args(arguments)
    binary = machines.find_qemu(chosen.qemu)
    if binary is None:
        print(f"no QEMU {chosen.qemu} here: pagethrift lab doctor says how to get one", file=sys.stderr)
        return 2

    def tell(number: int, hop: Hop) -> None:
        held = hop.held
        print(
            f"{number:4} {hop.strategy:11} {'multifd' if hop.multifd else '':7} {hop.seconds:5.2f} s,"
            f" RSS {held.rss_bytes / 2**20:.1f} MiB, {held.descriptors} descriptors, {held.threads} threads,"
            f" {held.children} child, {held.temporary} temporary, {held.state_files} state files"
            f"{', RAM equal' if hop.compared else ''}",
            flush=True,
        )

    with tempfile.TemporaryDirectory(prefix="ptsoak-") as name:
        record = soak(binary, Path(name), chosen.migrations, tell)
    for fault in record.judged():
        print(f"fault: {fault}", file=sys.stderr)
    print(record.summary())
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(_compact(record.document(chosen.migrations, chosen.qemu)))
    return 1 if record.judged() else 0


def _compact(document: dict[str, Any]) -> str:
    """Return the document with a line for each field and each column."""
    columns = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in document["hops"].items())
    heads = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in document.items() if k != "hops"]
    return "{\n" + ",\n".join([*heads, f' "hops": {{\n{columns}\n }}']) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
