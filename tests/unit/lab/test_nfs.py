"""The settings of the NFS server and of QEMU's driver; a real run is in tests/lab/test_migration.py."""

from pathlib import Path

import pytest

from pagethrift.errors import LabError, LinkError
from pagethrift.lab import nfs, packages
from pagethrift.lab.packages import NfsPrograms

PROGRAMS = NfsPrograms(Path("/x/rpcbind"), Path("/x/ganesha.nfsd"), Path("/x/plugins"), {})


class NobodyAnswers:
    """Two hosts of which none can be reached."""

    def connect(self, host: str, port: int, timeout_s: float) -> None:
        raise LinkError(f"no connection to {host}:{port}")


def test_only_the_disks_folder_is_served_and_only_to_the_lab():
    text = nfs._settings(Path("/runs/1/disk"), PROGRAMS)
    assert text.count("EXPORT") == 1
    assert 'Path = "/runs/1/disk"' in text
    assert f"Bind_addr = {nfs.CLIENT_ADDRESS}" in text
    assert 'Plugins_Dir = "/x/plugins"' in text


def test_qemu_opens_the_image_at_the_server():
    words = nfs.nfs_drive(Path("/runs/1/disk/disk.img")).split(",")
    assert f"file.server.host={nfs.CLIENT_ADDRESS}" in words
    assert "file.path=/runs/1/disk/disk.img" in words


def test_a_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nfs, "_START_TIMEOUT_S", 0.1)
    with pytest.raises(LabError, match="NFS server is not there"):
        nfs._wait_for(2049, NobodyAnswers(), lambda: None)


def test_a_qemu_without_a_driver_for_nfs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "_apt_options", list)
    monkeypatch.setattr(packages, "_run", lambda command, what: "1:7.2\nDepends: libc6, librbd1 (>= 1)\n")
    with pytest.raises(LabError, match="no driver for NFS"):
        packages.with_nfs_driver(packages.QemuBinary(Path("/a/usr/bin/qemu-system-x86_64"), "7.2.1"))
