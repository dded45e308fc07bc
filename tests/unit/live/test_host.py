"""What is read of this machine and of the QEMUs on it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pagethrift.live.host import QemuProcess, host_facts

IDLE = "read line"


@contextmanager
def shell(
    folder: Path, name: str, script: str = IDLE, shown_as: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a shell whose process is called ``name``, and its command line ``shown_as``."""
    program = shutil.which("bash")
    assert program is not None
    (folder / name).symlink_to(program)
    process = subprocess.Popen(
        [shown_as or name, "-c", script], executable=folder / name, stdin=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_facts_of_this_machine() -> None:
    facts = host_facts()
    assert facts.system.startswith(f"{platform.system()} {platform.release()} ")
    assert (facts.cpus, facts.python) == (len(os.sched_getaffinity(0)), platform.python_version())
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert facts.memory_bytes == int(total.split()[1]) * 1024
    assert facts.cpu_model == facts.cpu_model.strip()
    assert ":" not in facts.cpu_model


@pytest.mark.parametrize(
    ("name", "shown_as", "found"),
    [
        ("qemu-system-x86", "", True),
        ("kvm", "", True),
        ("wrapped", "/usr/bin/qemu-system-x86_64", True),
        ("my) qemu (1", "", True),
        ("xkvm", "", False),
        ("socat", "qemu", False),
    ],
)
def test_only_a_qemu_counts(tmp_path: Path, name: str, shown_as: str, found: bool) -> None:
    with shell(tmp_path, name, shown_as=shown_as) as process:
        seen = QemuProcess.at(process.pid)
        assert (seen is not None) == found
        assert seen is None or not seen.ended
    assert QemuProcess.at(process.pid) is None


def test_a_process_has_ended_before_its_parent_takes_note(tmp_path: Path) -> None:
    with shell(tmp_path, "qemu") as process:
        seen = QemuProcess.at(process.pid)
        assert seen is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert seen.ended
    assert seen.ended
    assert seen.cpu_s() is None


def test_a_later_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    with shell(tmp_path, "qemu") as process:
        seen = QemuProcess.at(process.pid)
        assert seen is not None
        earlier = replace(seen, started=str(int(seen.started) - 1))
        assert (seen.ended, earlier.ended) == (False, True)
        assert (seen.cpu_s(), earlier.cpu_s()) == (0.0, None)


def test_cpu_time_is_of_user_and_system(tmp_path: Path) -> None:
    script = "while :; do read -r line < /proc/self/stat; done"
    with shell(tmp_path, "qemu", script) as process:
        seen = QemuProcess.at(process.pid)
        assert seen is not None
        deadline_s = time.monotonic() + 20
        while (seen.cpu_s() or 0.0) < 0.2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGSTOP)  # nothing more is used
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        used_s = seen.cpu_s()
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = -signal.SIGKILL
    assert usage.ru_stime > 0.02
    assert used_s == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.03)
