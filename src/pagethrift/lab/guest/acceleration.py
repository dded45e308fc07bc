"""Whether hardware virtualisation really works here, found out by booting a kernel under it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.cache import cache_dir, locked
from pagethrift.lab.guest.packages import QemuBinary, kernel
from pagethrift.lab.hosts.processes import command_line

# A kernel without initramfs panics about 0.5 s after a start under KVM, and panic=-1 ends QEMU.
# Ten times that allows for a loaded machine; a KVM slower than that is useless for measurements.
_PROBE_TIMEOUT_S = 5.0


class Accelerator(StrEnum):
    """QEMU's -accel."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class KvmProbe:
    """The result of trying KVM."""

    works: bool
    detail: str
    """one line for people"""


def accelerator(qemu: QemuBinary, *, cpu: str = "max") -> Accelerator:
    """Return KVM if a kernel boots under it, else TCG. Raises LabError without a guest kernel."""
    return Accelerator.KVM if probe_kvm(qemu, cpu=cpu).works else Accelerator.TCG


def probe_kvm(qemu: QemuBinary, *, cpu: str = "max") -> KvmProbe:
    """Boot Debian's kernel under KVM once per boot of this machine; later calls read the stored result.

    Only a real kernel is a test: on a half-working nested KVM a ROM of five instructions ran to its
    end, while every Linux hung in its decompressor.
    Raises LabError when the guest kernel cannot be fetched.
    """
    device = Path("/dev/kvm")
    if not device.exists():
        return KvmProbe(False, "/dev/kvm does not exist")
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmProbe(False, "/dev/kvm may not be opened by this user")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = hashlib.sha256(f"{boot} {qemu.path} {qemu.version} {cpu}".encode()).hexdigest()[:16]
    with locked("kvm"):
        store = cache_dir() / f"kvm-{key}.json"
        try:
            known = json.loads(store.read_text())
            return KvmProbe(bool(known["works"]), str(known["detail"]))
        except (OSError, ValueError, KeyError, TypeError):
            probe = _boot_once(qemu, cpu, kernel().image)
        draft = store.with_suffix(".new")
        draft.write_text(json.dumps(asdict(probe)))
        draft.replace(store)
    return probe


def _boot_once(qemu: QemuBinary, cpu: str, bzimage: Path) -> KvmProbe:
    command: list[str | Path] = [
        *qemu.command,
        "-nodefaults",
        "-nographic",
        "-no-reboot",
        "-serial",
        "stdio",
        "-machine",
        "pc",
        "-accel",
        "kvm",
        "-cpu",
        cpu,
        "-m",
        "256M",
        "-kernel",
        bzimage,
        "-append",
        "console=ttyS0 panic=-1",
    ]
    try:
        done = subprocess.run(
            command_line(command),
            env={**os.environ, **qemu.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        began = b"Linux version" in (late.stdout or b"")
        stage = "after its first lines" if began else "before its first line"
        return KvmProbe(False, f"a Linux kernel hangs under KVM {stage}")
    except OSError as error:
        raise LabError(f"cannot start {qemu.path}: {error.strerror}; install util-linux and QEMU") from error
    if done.returncode == 0 and b"Linux version" in done.stdout:
        return KvmProbe(True, "a Linux kernel boots under KVM")
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return KvmProbe(False, f"QEMU fails under KVM: {lines[0][:120]}")
