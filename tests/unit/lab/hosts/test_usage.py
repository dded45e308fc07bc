"""CPU and memory of real processes and threads."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pagethrift.lab.hosts.processes import Process, ProcessGroup
from pagethrift.lab.hosts.usage import QemuThreads, Usage, thread_kind

# A thread of each kind with QEMU's names; one burns for the time given, then ends; stdin ends the process.
BURNER = """
import ctypes, sys, threading, time
libc = ctypes.CDLL(None)
def burn(name, cpu_s):
    libc.prctl(15, name.encode(), 0, 0, 0)
    while time.thread_time() < cpu_s: pass
    print(name, flush=True)
data = bytes(b"x") * (50 << 20)
sys.stdin.readline()
for name, cpu_s in (("CPU 0/TCG", 0.3), ("mig/src/main", 0.2), ("multifdsend_1", 0.1), ("call_rcu", 0.1)):
    thread = threading.Thread(target=burn, args=(name, cpu_s)); thread.start(); thread.join()
began = time.thread_time()
while time.thread_time() - began < 0.15: pass
print("all", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CPU 0/TCG", "vcpu"),
        ("CPU 11/KVM", "vcpu"),
        ("ALL CPUs/TCG", "vcpu"),
        ("live_migration", "migration"),
        ("return path", "migration"),
        ("mig/src/main", "migration"),
        ("mig/src/return", "migration"),
        ("multifdsend_0", "multifd"),
        ("mig/src/send_3", "multifd"),
        ("call_rcu", "other"),
        ("worker", "other"),
    ],
)
def test_threads_are_told_by_the_names_of_both_qemu_series(name: str, kind: str) -> None:
    assert thread_kind(name) == kind


@pytest.fixture
def burner(tmp_path: Path) -> Iterator[Process]:
    with ProcessGroup(tmp_path) as group:
        process = group.start(
            [sys.executable, "-c", BURNER], name="burner", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        while psutil.Process(process.pid).memory_info().rss < 50 << 20:
            time.sleep(0.01)
        yield process


def burn(process: Process) -> None:
    stdin, stdout = process.popen.stdin, process.popen.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write(b"\n")
    stdin.flush()
    while stdout.readline() != b"all\n":
        assert process.running


@pytest.mark.slow
def test_time_goes_to_the_kind_of_thread_that_used_it(burner: Process) -> None:
    threads = QemuThreads(burner.pid, look_every_s=0.01)
    threads.begin()
    burn(burner)
    threads.end()
    spent_s = threads.cpu_s
    wanted_s = {"vcpu": 0.3, "migration": 0.2, "multifd": 0.1, "main": 0.15}
    for kind, cpu_s in wanted_s.items():
        assert spent_s[kind] == pytest.approx(cpu_s, abs=0.08), spent_s
    total_s = psutil.Process(burner.pid).cpu_times()
    assert sum(spent_s.values()) <= total_s.user + total_s.system + 0.03
    assert sum(spent_s.values()) >= 0.8


@pytest.mark.slow
def test_time_of_threads_nobody_saw_is_not_lost(burner: Process) -> None:
    threads = QemuThreads(burner.pid, look_every_s=3600)
    threads.begin()
    burn(burner)
    threads.end()
    assert threads.cpu_s["other"] >= 0.6


@pytest.mark.slow
def test_time_before_the_beginning_does_not_count(burner: Process) -> None:
    burn(burner)
    threads = QemuThreads(burner.pid)
    threads.begin()
    threads.end()
    assert sum(threads.cpu_s.values()) < 0.1


def test_processes_count_with_their_children_and_without_their_past(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        source = group.start(["sleep", "60"], name="source")
        # A shell whose child burns: what sshd does with a connection.
        child = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.4: pass'"
        code = f"read x; {child}; echo all; read x"
        far = group.start(["sh", "-c", code], name="far", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        usage = Usage(source, {"tunnel": [far], "delay": []})
        usage.begin()
        burn(far)
        usage.end()
    assert 0.37 <= usage.cpu_s["tunnel"] < 10
    assert "delay" not in usage.cpu_s
    assert usage.cpu_s.keys() >= {"main", "other", "tunnel"}
    assert 0 < usage.peak_rss_bytes["tunnel"] < 50 << 20


def test_memory_is_the_peak(burner: Process) -> None:
    usage = Usage(burner, {})
    usage.begin()
    usage.end()
    assert 50 << 20 < usage.peak_rss_bytes["source"] < 200 << 20


def test_a_process_that_has_ended_costs_nothing_and_raises_nothing(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        gone = group.start(["true"], name="gone")
        gone.wait(5)
        usage = Usage(gone, {"tunnel": [gone]})
        usage.begin()
        usage.end()
    assert usage.cpu_s == {"other": 0.0, "tunnel": 0.0}
    assert usage.peak_rss_bytes == {"source": 0, "tunnel": 0}
