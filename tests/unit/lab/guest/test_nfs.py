"""The settings of the NFS server and of QEMU's driver; a real run is in tests/lab/test_migration.py."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import psutil
import pytest

from pagethrift.errors import LabError, LinkError
from pagethrift.lab.guest import nfs, packages
from pagethrift.lab.guest.packages import NfsPrograms
from pagethrift.lab.hosts.namespaces import sweep_leftovers
from pagethrift.lab.hosts.network import CLIENT_ADDRESS, TwoHosts

PROGRAMS = NfsPrograms(Path("/x/rpcbind"), Path("/x/ganesha.nfsd"), Path("/x/plugins"), {})


class NobodyAnswers:
    """Two hosts of which none can be reached."""

    def connect(self, host: str, port: int, timeout_s: float) -> None:
        raise LinkError(f"no connection to {host}:{port}")


def test_only_the_disks_folder_is_served_and_only_to_the_lab() -> None:
    text = nfs._settings(Path("/runs/1/disk"), PROGRAMS)
    assert text.count("EXPORT") == 1
    assert 'Path = "/runs/1/disk"' in text
    assert f"Bind_addr = {CLIENT_ADDRESS}" in text
    assert 'Plugins_Dir = "/x/plugins"' in text


def test_qemu_opens_the_image_at_the_server() -> None:
    words = nfs.nfs_drive(Path("/runs/1/disk/disk.img")).split(",")
    assert f"file.server.host={CLIENT_ADDRESS}" in words
    assert "file.path=/runs/1/disk/disk.img" in words


def test_a_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nfs, "_START_TIMEOUT_S", 0.1)
    with pytest.raises(LabError, match="no answer from the NFS server"):
        nfs._wait_for(2049, cast(TwoHosts, NobodyAnswers()), lambda: None)


def test_a_qemu_without_a_driver_for_nfs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "apt_options", lambda _: [])
    monkeypatch.setattr(packages, "run", lambda command, what: "7.2\nDepends: libc6, librbd1 (>= 1)\n")
    with pytest.raises(LabError, match="no driver for NFS"):
        packages.with_nfs_driver(packages.QemuBinary(Path("/a/usr/bin/qemu-system-x86_64"), "7.2.1"))


@pytest.mark.slow
def test_the_port_mapper_dies_with_a_killed_lab(tmp_path: Path) -> None:
    """It changes its user, which ends the death signal unless that user is root."""
    code = (
        "import pathlib, sys, time\n"
        "from pagethrift.lab.guest import nfs, packages\n"
        "from pagethrift.lab.hosts.network import TwoHosts\n"
        "from pagethrift.lab.hosts.processes import ProcessGroup\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with TwoHosts() as hosts, ProcessGroup(folder) as group:\n"
        "    nfs.serve(folder, hosts, group, folder)\n"
        "    print(*(each.pid for each in group._processes), flush=True)\n"
        "    time.sleep(60)"
    )
    lab = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert lab.stdout is not None
    served = [psutil.Process(int(pid)) for pid in lab.stdout.readline().split()]
    assert {each.name() for each in served} == {"rpcbind", "ganesha.nfsd"}
    lab.kill()
    lab.communicate()
    sweep_leftovers()
    assert not psutil.wait_procs(served, timeout=5)[1]
