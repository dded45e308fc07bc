"""One migration by the command line, between two QEMUs, over a link and monitors that can be broken."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pagethrift.errors import QmpError
from tests.qemu.live.faulty import DiskLock, Link, Monitor, children, stopped
from tests.qemu.live.pair import Pair
from tests.qemu.tiny import MIB

PHASES = ("setup", "first round", "later rounds", "switchover", "device state", "completed")
REFUSED, REFUSED_1_S = "destination refuses cont", "destination refuses cont for 1 s"
"""another process has locked its disk, for good or until a second after the source has completed"""
DISK_FULL = "disk full"
NO_MEMORY = "no more memory"
_NO_REUSE = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4096"}
"""each allocation of 4 KiB or more asks the kernel, and fails under a limit"""
FAULTS = (
    *("SIGKILL", "SIGSTOP 3 s", "SIGHUP", "SIGINT", "output closed", DISK_FULL, NO_MEMORY),
    *("relay SIGKILL", "relay SIGSTOP 3 s", f"relay {NO_MEMORY}"),
    *("destination SIGKILL", "destination SIGSTOP 3 s", REFUSED, REFUSED_1_S),
    *("link cut", "link stalled 3 s", "link slowed 100x for 3 s"),
    *("source QMP gone", "destination QMP gone"),
)
WAYS = ("relay", "multifd", "no destination monitor", "QEMU 7.2")
PAUSE_S = 3.0
FAST_BPS, NEVER_BPS, SWITCHOVER_BPS = 12 * MIB, 3 * MIB, MIB
"""converges in a few rounds; never does; leaves time to break something"""


@dataclass
class Trial:
    """One migration by the command, and everything that can be broken in it."""

    pair: Pair
    link: Link
    monitors: dict[str, Monitor]
    process: subprocess.Popen[str]
    errors: Path
    lock: DiskLock | None = None
    """that another process could hold on the guest's disk"""
    output: list[str] = field(default_factory=list)
    """the lines of the command's output, once `drain` was called and the command has ended"""
    _reader: threading.Thread | None = None

    def drain(self) -> None:
        """Read the command's output from now on, so that it never waits for a reader."""

        def read() -> None:
            with contextlib.suppress(OSError, ValueError):
                assert self.process.stdout is not None
                while line := self.process.stdout.readline():
                    self.output.append(line)

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()

    def wait_for(self, phase: str) -> None:
        """Return as soon as the migration is in ``phase``; it may be over already."""
        if phase in ("setup", "device state"):
            self._until(self.link.held.is_set)
        elif phase == "first round":
            self._until(lambda: self.link.carried > MIB)
        elif phase == "later rounds":
            self._until(lambda: self._passes() >= 3)
        elif phase == "switchover":
            self.pair.source.qmp.event("STOP", 30)
            self.link.bytes_per_s = SWITCHOVER_BPS
        else:
            self._until(lambda: self._status() == "completed")

    def apply(self, fault: str) -> None:
        """Break something, and mend it if it was for a while."""
        names = {"source QMP gone": "source", "destination QMP gone": "destination"}
        if fault in ("SIGKILL", "SIGHUP", "SIGINT"):
            self.process.send_signal(getattr(signal, fault))
        elif fault == "output closed":
            assert self.process.stdout is not None
            self.process.stdout.close()
        elif fault in (REFUSED, REFUSED_1_S):
            self._lock_disk(fault == REFUSED)
        elif fault == DISK_FULL:  # the limit fails a write as a full disk does, from any moment on
            for pid in (self.process.pid, *children(self.process.pid)):
                _limit(pid, resource.RLIMIT_FSIZE, 0)
        elif fault.endswith(NO_MEMORY):
            for pid in self._who(fault):
                _limit(pid, resource.RLIMIT_AS, 0)
        elif fault == "link cut":
            self.link.cut()
        elif fault.startswith("link "):
            self._slower(1e-9 if "stalled" in fault else 0.01)
        elif fault in names:
            if names[fault] in self.monitors:
                self.monitors[names[fault]].gone()
        else:
            for pid in self._who(fault):
                self._signal(pid, fault)

    def end(self, timeout_s: float = 90.0) -> tuple[int, str]:
        """Return the command's exit code and what it wrote to stderr."""
        self.link.go.set()
        self.link.bytes_per_s = FAST_BPS
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command still runs after {timeout_s} s: {self.errors.read_text()}")
        if self._reader is not None:
            self._reader.join(5)
        return code, self.errors.read_text()

    def _lock_disk(self, for_good: bool) -> None:
        assert self.lock is not None
        self.lock.take()
        if not for_good:
            threading.Thread(target=self._unlock_later, args=(self.lock,), daemon=True).start()

    def _unlock_later(self, lock: DiskLock) -> None:
        """Let go a second after the source has let go of the disk, which it does as it completes."""
        with contextlib.suppress(AssertionError, QmpError):
            self._until(lambda: self._status() == "completed")
        time.sleep(1.0)
        lock.release()

    def _slower(self, factor: float) -> None:
        before = self.link.bytes_per_s
        self.link.bytes_per_s = before * factor
        self.link.go.set()
        time.sleep(PAUSE_S)
        self.link.bytes_per_s = before

    def _who(self, fault: str) -> list[int]:
        if fault.startswith("relay"):
            return children(self.process.pid)
        if fault.startswith("destination"):
            return [self.pair.destination.process.pid]
        return [self.process.pid]

    def _signal(self, pid: int, fault: str) -> None:
        if fault.endswith("SIGKILL"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        with contextlib.suppress(ProcessLookupError), stopped(pid):
            self.link.go.set()
            time.sleep(PAUSE_S)

    def _passes(self) -> int:
        return int(self._query().get("ram", {}).get("dirty-sync-count", 0))

    def _status(self) -> str:
        return str(self._query().get("status", ""))

    def _query(self) -> dict[str, Any]:
        with contextlib.suppress(TimeoutError):  # in the switchover it does not answer
            answer: dict[str, Any] = self.pair.source.qmp.execute("query-migrate", timeout_s=30)
            return answer
        return {}

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 40
        while not reached() and self.process.poll() is None:
            assert time.monotonic() < deadline_s, f"phase not reached: {self.errors.read_text()}"
            time.sleep(0.002)


def _limit(pid: int, what: int, bytes_: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, what, (bytes_, resource.prlimit(pid, what)[1]))


@contextlib.contextmanager
def trial(
    pair: Pair, way: str, phase: str, fault: str = "", straight: bool = False, more: Sequence[str] = ()
) -> Iterator[Trial]:
    """Start the command against a link and monitors that can fail; end them all.

    ``straight`` True: the monitors are QEMU's own, as on one host, and cannot fail. ``more``: options.
    """
    folder = pair.folder
    for old in ("link.sock", "far.sock", "qa", "qb"):
        (folder / old).unlink(missing_ok=True)
    rate = NEVER_BPS if phase == "later rounds" else FAST_BPS
    hold = {"setup": "start", "device state": "device"}.get(phase, "")
    link = Link(folder / "link.sock", folder / "far.sock", rate, hold)
    monitors = {} if straight else {"source": Monitor(folder / "qa", folder / "a.qmp")}
    source, destination = ("a.qmp", "b.qmp") if straight else ("qa", "qb")
    command = [sys.executable, "-m", "pagethrift", "migrate", "--qmp", f"{folder}/{source}", "--json"]
    command += ["--to", f"unix:{folder}/link.sock", "--downtime-limit", "500ms"]
    if way == "no destination monitor":
        if pair.destination.qmp.execute("query-status")["status"] != "running":
            pair.destination.qmp.execute("migrate-set-capabilities", capabilities=RETURN_PATH)
            pair.destination.qmp.execute("migrate-incoming", uri=f"unix:{folder}/far.sock")
            pair.destination.qmp.execute("cont")  # as one that was started without -S
    else:
        if not straight:
            monitors["destination"] = Monitor(folder / "qb", folder / "b.qmp")
        command += ["--destination-qmp", f"{folder}/{destination}", "--incoming", f"unix:{folder}/far.sock"]
    if way == "multifd":
        command += ["--multifd", "2"]
    if fault == DISK_FULL:
        command += [
            "--out",
            str(folder / "out" / "result.json"),
            "--facts-log",
            str(folder / "out" / "facts"),
        ]
    command += more
    for name in ("tmp", "out"):
        (folder / name).mkdir(exist_ok=True)
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TMPDIR": str(folder / "tmp"), **(_NO_REUSE if NO_MEMORY in fault else {})},
        )
    lock = DiskLock(pair.disk) if pair.disk else None
    try:
        yield Trial(pair, link, monitors, process, folder / "errors", lock)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for each in (link, *monitors.values()):
            each.close()
        if lock is not None:
            lock.close()


RETURN_PATH = [{"capability": name, "state": True} for name in ("return-path", "events")]
