"""The KVM probe's judgement, with stand-ins for QEMU."""

from pathlib import Path

import pytest

from pagethrift.lab.guest import acceleration
from pagethrift.lab.guest.packages import QemuBinary


def fake_qemu(folder: Path, script: str) -> QemuBinary:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return QemuBinary(path, "10.0.2")


@pytest.mark.parametrize(
    ("script", "works", "detail"),
    [
        ("echo Linux version 6.1", True, "boots under KVM"),
        ("echo Booting from ROM; exec sleep 60", False, "hangs under KVM before its first line"),
        ("echo Linux version 6.1; exec sleep 60", False, "hangs under KVM after its first lines"),
        ("echo failed to set MSR >&2; exit 1", False, "failed to set MSR"),
        ("echo Booting from ROM", False, "fails under KVM"),
    ],
)
def test_only_a_kernel_that_runs_to_its_end_counts(
    script: str, works: bool, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "_PROBE_TIMEOUT_S", 0.5)
    probe = acceleration._boot_once(fake_qemu(tmp_path, script), "max", Path("/dev/null"))
    assert probe.works is works
    assert detail in probe.detail
