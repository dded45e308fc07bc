"""Processes of the lab: where they run, and that none outlives its owner."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pagethrift.errors import LabError
from pagethrift.lab.hosts.network import TwoHosts
from pagethrift.lab.hosts.processes import ProcessGroup


def test_group_ends_and_reaps_all(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        polite = group.start(["sleep", "60"], name="polite")
        endless = "trap '' TERM; echo up; while :; do sleep 0.1; done"
        stubborn = group.start(["sh", "-c", endless], name="stubborn")
        while b"up" not in stubborn.log_path.read_bytes():
            time.sleep(0.01)
        began_s = time.monotonic()
        group.close(grace_s=0.3)
        assert time.monotonic() - began_s < 2
    assert polite.wait() == -signal.SIGTERM
    assert stubborn.wait() == -signal.SIGKILL
    assert not psutil.pid_exists(polite.pid)
    assert not psutil.pid_exists(stubborn.pid)


def test_group_ends_all_on_an_exception(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with ProcessGroup(tmp_path) as group:
            pids.append(group.start(["sleep", "60"], name="sleeper").pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not psutil.pid_exists(pids[0])


def test_the_pid_is_the_program_itself(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        process = group.start(["sleep", "60"], name="sleeper")
        deadline_s = time.monotonic() + 5
        while psutil.Process(process.pid).cmdline()[:1] != ["sleep"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert psutil.Process(process.pid).cmdline() == ["sleep", "60"]


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        started = []
        thread = threading.Thread(target=lambda: started.append(group.start(["sleep", "60"], name="s")))
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert started[0].running


def test_nothing_survives_a_killed_lab(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from pagethrift.lab.hosts.processes import ProcessGroup\n"
        "group = ProcessGroup(pathlib.Path(sys.argv[1]))\n"
        "print(group.start(['sleep', '60'], name='s').pid, flush=True)\n"
        "time.sleep(60)"
    )
    lab = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert lab.stdout is not None
    pid = int(lab.stdout.readline())
    child = psutil.Process(pid)
    while child.name() != "sleep":
        time.sleep(0.01)
    lab.kill()
    lab.communicate()
    deadline_s = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, "the child outlived the lab"
        time.sleep(0.02)


def test_output_environment_and_last_words(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        script = "echo $PT_X; echo why it failed >&2; exit 3"
        process = group.start(["sh", "-c", script], name="f", env={"PT_X": "y"})
        assert process.wait(5) == 3
        assert process.log_path.read_text() == "y\nwhy it failed\n"
        with pytest.raises(LabError, match="f ended with code 3: y; why it failed"):
            process.require_running()


def test_a_missing_program_is_an_ended_process(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        process = group.start(["no-such-program"], name="none")
        assert process.wait(5) != 0
        assert "no-such-program" in process.last_words()


def test_wait_times_out_as_lab_error(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        process = group.start(["sleep", "60"], name="sleeper")
        with pytest.raises(LabError, match="still runs"):
            process.wait(0.05)
        assert group.stop(process) == -signal.SIGTERM


@pytest.mark.usefixtures("lab_network")
def test_a_process_runs_in_its_namespace(tmp_path: Path) -> None:
    with TwoHosts() as hosts, ProcessGroup(tmp_path) as group:
        process = group.start(["sleep", "60"], name="s", namespace=hosts.a.namespace)
        inode = os.stat(f"/run/netns/{hosts.a.namespace}").st_ino
        deadline_s = time.monotonic() + 5
        while psutil.Process(process.pid).cmdline()[:1] != ["sleep"]:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert os.stat(f"/proc/{process.pid}/ns/net").st_ino == inode
        assert os.stat("/proc/self/ns/net").st_ino != inode
