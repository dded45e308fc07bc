"""The cost of a migration for its hosts: CPU time by thread and process, and peak memory."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from pagethrift.lab.hosts.processes import Process
from pagethrift.model.result import MigrationResult
from pagethrift.process_memory import memory_bytes

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# The time of an ended thread is lost; what it used after the last look counts as "other".
_LOOK_EVERY_S = 0.1


def thread_kind(name: str) -> str:
    """Return vcpu, migration, multifd or other for QEMU's name of a thread (debug-threads=on).

    Names of QEMU 7.2 (accel/*, migration/migration.c, multifd.c) and 10.0 to 11.1 (migration/migration.h).
    """
    if name.startswith(("CPU ", "ALL CPUs")):
        return "vcpu"
    if name.startswith(("multifdsend", "mig/src/send")):
        return "multifd"
    if name.startswith(("live_migration", "return path", "mig/src")):
        return "migration"
    return "other"


def read_stat(path: Path) -> tuple[str, float, str] | None:
    """Return name, CPU seconds and start time of a process or thread from its ``stat`` file.

    The seconds are user plus system, in steps of 10 ms. None when it has ended. Source: proc(5).
    """
    try:
        text = path.read_text()
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    words = rest.split()
    return name, (int(words[11]) + int(words[12])) / _TICKS_PER_S, words[19]


class QemuThreads:
    """Follows the CPU time of one QEMU's threads from `begin` to `end`."""

    def __init__(self, pid: int, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._look_every_s = look_every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="usage", daemon=True)
        self._first: dict[tuple[str, str], float] = {}
        self._last: dict[tuple[str, str], tuple[str, float]] = {}
        self._total_s = (0.0, 0.0)

    def begin(self) -> None:
        """Take the first look, and keep looking."""
        began = read_stat(self._folder / "stat")
        self._total_s = (began[1], began[1]) if began else (0.0, 0.0)
        self._look()
        self._first = {key: cpu_s for key, (_, cpu_s) in self._last.items()}
        self._thread.start()

    def end(self) -> None:
        """Take the last look."""
        self._done.set()
        self._thread.join()
        self._look()

    @property
    def cpu_s(self) -> dict[str, float]:
        """CPU seconds from begin to end by kind of thread ("main": the main loop); they add up to QEMU's."""
        sums: defaultdict[str, float] = defaultdict(float)
        for key, (kind, cpu_s) in self._last.items():
            sums[kind] += cpu_s - self._first.get(key, 0.0)
        sums["other"] += max(0.0, self._total_s[1] - self._total_s[0] - sum(sums.values()))
        return {kind: round(cpu_s, 2) for kind, cpu_s in sorted(sums.items())}

    def _follow(self) -> None:
        while not self._done.wait(self._look_every_s):
            self._look()

    def _look(self) -> None:
        try:
            threads = list((self._folder / "task").iterdir())
        except OSError:
            return
        for thread in threads:
            stat = read_stat(thread / "stat")
            if stat is not None:
                name, cpu_s, began = stat
                kind = "main" if thread.name == self._folder.name else thread_kind(name)
                self._last[thread.name, began] = (kind, cpu_s)
        now = read_stat(self._folder / "stat")
        if now is not None:
            self._total_s = (self._total_s[0], now[1])


class Usage:
    """CPU time of the source QEMU by thread and of other processes by role, and their memory."""

    def __init__(self, source: Process, others: Mapping[str, Sequence[Process]]) -> None:
        """``others`` maps a role, such as tunnel, to its processes; their children count with them."""
        self._source = source
        self._others = {role: processes for role, processes in others.items() if processes}
        self._threads = QemuThreads(source.pid)
        self._before: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        """seconds by role from `begin` to `end`"""
        self.peak_rss_bytes: dict[str, int] = {}
        """peak memory by role, since each process began; the sum for several processes"""

    def begin(self) -> None:
        """Begin to count; call once."""
        self._before = {role: sum(map(_cpu_s, processes)) for role, processes in self._others.items()}
        self._threads.begin()

    def end(self) -> None:
        """Stop counting; call after `begin`."""
        self._threads.end()
        self.cpu_s = self._threads.cpu_s
        self.peak_rss_bytes = {"source": memory_bytes(self._source.pid)}
        for role, processes in self._others.items():
            self.cpu_s[role] = round(sum(map(_cpu_s, processes)) - self._before[role], 2)
            self.peak_rss_bytes[role] = sum(memory_bytes(process.pid) for process in processes)

    def with_relay(self, migration: MigrationResult) -> tuple[dict[str, float], dict[str, int]]:
        """Return CPU seconds and peak memory by role, the relay's (as it reported them itself) included."""
        cpu_s, peak_rss_bytes = dict(self.cpu_s), dict(self.peak_rss_bytes)
        if migration.relay_cpu_s is not None:
            cpu_s["relay"] = round(migration.relay_cpu_s, 2)
        if migration.relay_peak_rss_bytes is not None:
            peak_rss_bytes["relay"] = migration.relay_peak_rss_bytes
        return cpu_s, peak_rss_bytes


def _cpu_s(process: Process) -> float:
    """Return the CPU seconds of a process and all its children, ended ones included."""
    try:
        top = psutil.Process(process.pid)
        return sum(sum(one.cpu_times()[:4]) for one in (top, *top.children(recursive=True)))
    except psutil.Error:
        return 0.0
