"""A disk that both hosts share: the guest writes to it while it migrates, the lab checks it afterwards."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.machine import DISK_PORT, DISK_SLOTS, Machine
from pagethrift.lab.guest.monitor import Monitor
from pagethrift.lab.hosts.network import GUEST_ADDRESS, TwoHosts
from pagethrift.model.run_result import DiskCheck

_TOOK = re.compile(r"pagethrift: disk took (\d+) files")
_STOP_TIMEOUT_S = 60.0


def make_disk(path: Path, size_bytes: int) -> None:
    """Make a raw image with an empty ext4. Raises LabError.

    QEMU opens the image with O_DIRECT: behind a page cache, a real second host would read stale data.
    """
    mkfs = disk_program("mkfs.ext4")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise LabError(f"cannot make the shared disk {path}: {error.strerror}") from error
        raise LabError(f"{path.parent} has no O_DIRECT; set TMPDIR to a folder on a real disk") from error
    os.truncate(descriptor, size_bytes)
    os.close(descriptor)
    done = _run([mkfs, "-q", "-F", "-m", "0", str(path)])
    if done.returncode != 0:
        raise LabError(f"mkfs.ext4 failed on {path}: {_last_line(done)}")


def local_drive(image: Path) -> str:
    """Return the options of QEMU's -drive for an image in a folder that both hosts see."""
    return f"file={image},format=raw,file.locking=on"


def written_bytes(machine: Machine) -> int:
    """Return the bytes that a QEMU's guest has written to its disk. Raises QmpError."""
    with Monitor(machine.observer_qmp_path) as monitor:
        return sum(int(device["stats"]["wr_bytes"]) for device in monitor.execute("query-blockstats"))


def stop_writer(machine: Machine, hosts: TwoHosts) -> int:
    """Tell the guest to unmount its disk, wait for that, and return the files it wrote.

    Raises LabError or LinkError when the guest does not unmount its disk.
    """
    hosts.connect(GUEST_ADDRESS, DISK_PORT).close()
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    while (took := _TOOK.search(machine.serial_text())) is None:
        machine.process.require_running()
        if time.monotonic() > deadline_s:
            said = (machine.serial_text().strip().splitlines() or ["nothing"])[-1][:200]
            raise LabError(
                f"the guest has not unmounted its disk after {_STOP_TIMEOUT_S:g} s; it says {said!r}"
            )
        time.sleep(0.05)
    return int(took[1])


def check_disk(path: Path, folder: Path, files_written: int, written_during_bytes: int) -> DiskCheck:
    """Check file system and files of an image that no QEMU uses; its files are copied into ``folder``.

    Raises LabError when the tools of ext4 are missing or find no ext4.
    """
    clean = _run([disk_program("fsck.ext4"), "-f", "-n", str(path)]).returncode == 0
    copy = folder / "disk-files"
    copy.mkdir()
    done = _run([disk_program("debugfs"), "-R", f"rdump / {copy}", str(path)])
    if done.returncode != 0:
        raise LabError(f"debugfs cannot read {path}: {_last_line(done)}")
    files = [file for file in copy.iterdir() if file.is_file()]
    wrong = sum(
        hashlib.sha256(file.read_bytes()).hexdigest() != file.name.partition("-")[2] for file in files
    )
    missing = min(files_written, DISK_SLOTS) - len({file.name.partition("-")[0] for file in files})
    shutil.rmtree(copy)
    return DiskCheck(clean, len(files), wrong + max(0, missing), files_written, written_during_bytes)


def disk_program(name: str) -> str:
    """Return the path of a program of e2fsprogs. Raises LabError."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise LabError(f"a shared disk needs {name}, which is not installed; install package e2fsprogs")
    return path


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return ((done.stderr or done.stdout).strip().splitlines() or ["no message"])[-1]
