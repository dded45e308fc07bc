"""A lab run that is broken off, politely or not: nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pagethrift.lab.hosts.network import sweep_leftovers
from pagethrift.lab.hosts.run_folder import sweep_folders

SCENARIO = """
name = "interrupted"
[guest]
memory = "256MiB"
memcached = "64MiB"
disk = "64MiB"
[link]
bandwidth = "20Mbit"
delay = "5ms"
security = "ssh"
[load]
keys = 10_000
rate_per_s = 500.0
[timing]
warm_up = "0s"
"""
WANTED = {
    "qemu-system",
    "pagethrift relay",
    "pagethrift migrate",
    "lab.load.generator",
    "lab.link.delay",
    "sshd",
    "ssh -F",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    scenario = tmp_path / "interrupted.toml"
    scenario.write_text(SCENARIO)
    # Background jobs of a shell script ignore Ctrl-C, and so would what they start.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "pagethrift"]
    command += ["lab", "run", str(scenario), "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
    sweep_leftovers()


def namespaces(pid: int) -> list[str]:
    return [name for name in os.listdir("/run/netns") if name.startswith(f"pt-{pid}-")]


def folders(pid: int) -> list[Path]:
    return list(Path("/tmp").glob(f"ptl-{pid}-*"))


def wait_until_under_way(lab: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return all processes of the run once its migration has put a megabyte on the link."""
    deadline_s = time.monotonic() + 200
    while time.monotonic() < deadline_s:
        assert lab.poll() is None, lab.stderr and lab.stderr.read()
        source = [name for name in namespaces(lab.pid) if name.endswith("-a")]
        shown = subprocess.run(
            ["ip", "-n", *source, "-j", "-s", "link", "show", "link0"], capture_output=True, check=False
        )
        if source and shown.returncode == 0 and json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"] > 1e6:
            return psutil.Process(lab.pid).children(recursive=True)
        time.sleep(0.1)
    raise AssertionError("the migration did not begin")


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process.cmdline() for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupt_ends_everything_and_cleans_up(
    lab: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    processes = wait_until_under_way(lab)
    commands = [" ".join(process.cmdline()) for process in processes]
    assert not {word for word in WANTED if not any(word in command for command in commands)}
    lab.send_signal(number)
    assert lab.wait(30) == 130
    assert lab.stderr is not None
    said = lab.stderr.read()
    assert b"Traceback" not in said
    assert said.splitlines()[-1].startswith(b"pagethrift: interrupted; finished runs are in ")
    wait_until_gone(processes)
    assert not namespaces(lab.pid)
    assert not folders(lab.pid)


def test_after_a_kill_no_process_stays_and_the_next_run_sweeps(lab: subprocess.Popen[bytes]) -> None:
    processes = wait_until_under_way(lab)
    lab.kill()
    lab.wait()
    wait_until_gone(processes)
    # none: another lab that starts beside this test has swept them already
    assert len(namespaces(lab.pid)) in (0, 3)
    sweep_leftovers()
    sweep_folders()
    assert not namespaces(lab.pid)
    assert not folders(lab.pid)
