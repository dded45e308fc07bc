"""QEMU machines of the lab: the source and destination of one Linux guest."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.acceleration import Accelerator
from pagethrift.lab.guest.image import READY_MARKER, GuestImage
from pagethrift.lab.guest.packages import QemuBinary
from pagethrift.lab.hosts.network import GUEST_ADDRESS, GUEST_MAC, PREFIX_LENGTH, Host
from pagethrift.lab.hosts.processes import Process, ProcessGroup

ACTIVITIES = ("idle", "random-writer", "page-flipper", "build", "redis")
"""the activities that activity.sh in the guest offers"""
DISK_PORT = 11212
"""a connection to this port tells the guest's writer to unmount the disk"""
DISKS_ON = ("directory", "nfs")
CLASSES_PORT = 11213
"""a connection to this port gets the guest's /proc/kpageflags"""
DISK_SLOTS = 200
"""how many files of 64 KiB the writer keeps"""

_MIB = 2**20
# sockaddr_un holds 108 bytes with the final NUL.
_UNIX_PATH_MAX = 107


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """The guest's hardware, memcached and activity; equal on both sides of a migration."""

    memory_bytes: int = 1024 * _MIB
    cpus: int = 1
    machine: str = "pc"
    """machine type; between two QEMU series use the older one's, such as pc-i440fx-7.2"""
    cpu: str = "max"
    memcached_bytes: int = 512 * _MIB
    """memcached's -m: most memory for items"""
    memcached_args: tuple[str, ...] = ()
    """further arguments of memcached without spaces or commas, such as ("-c", "2048")"""
    clear_free: bool = False
    """zero the free memory that booting leaves, so that less has to move"""
    huge_pages: bool = True
    """let the guest's kernel gather pages into huge ones (khugepaged), up to 16 MiB every ten seconds"""
    activity: str = "idle"
    """one of ACTIVITIES, from the start of the guest to its end"""
    activity_bytes: int = 32 * _MIB
    """memory that the activity writes to (build: its sources; redis: the most it may use)"""
    activity_bps: int = 0
    """most bytes that random-writer and page-flipper write a second; 0 = as fast as the guest goes"""
    disk_bytes: int = 0
    """size of a disk that both hosts share and the guest writes to; 0 = none"""
    disk_on: str = "directory"
    """one of DISKS_ON: how the hosts see it"""
    tells_page_classes: bool = False
    """send the guest's /proc/kpageflags to clients of CLASSES_PORT"""
    qemu_args: tuple[str, ...] = ()
    """further arguments of QEMU, such as ("-device", "virtio-balloon-pci")"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A running QEMU."""

    process: Process
    host: Host
    qmp_path: Path
    """monitor for the driver of the migration"""
    observer_qmp_path: Path
    """second monitor, for the lab's own observation"""
    serial_path: Path
    """log of the guest's first serial port"""
    accelerator: Accelerator
    began_s: float
    """time.monotonic() when QEMU was started"""

    def wait_ready(self, timeout_s: float = 60.0) -> float:
        """Wait until memcached answers and the activity is prepared; return seconds since the start.

        Raises LabError when QEMU ends, the guest fails or time runs out.
        """
        while True:
            if READY_MARKER in self.serial_text():
                return time.monotonic() - self.began_s
            waited_s = time.monotonic() - self.began_s
            if not self.process.running or waited_s > timeout_s:
                how = "not ready" if self.process.running else f"ended ({self.process.last_words()})"
                said = console_words(self.serial_text())
                raise LabError(f"guest {how} after {waited_s:.0f} s; its console says {said!r}")
            time.sleep(0.02)

    def serial_text(self) -> str:
        """Return the serial console so far."""
        try:
            return self.serial_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""


def console_words(text: str) -> str:
    """Return what a guest's console says of its end: why its kernel panicked, else the last line."""
    panics = re.findall(r"Kernel panic - not syncing: (.+)", text)
    last = (text.strip().splitlines() or ["nothing"])[-1]
    return (f"kernel panic: {panics[0].strip()}" if panics else last)[:200]


def start_qemu(
    group: ProcessGroup,
    *,
    name: str,
    host: Host,
    guest: GuestSpec,
    image: GuestImage,
    qemu: QemuBinary,
    accelerator: Accelerator,
    folder: Path,
    drive: str | None = None,
    incoming: bool = False,
    paused: bool = False,
) -> Machine:
    """Start a QEMU on ``host`` and return once both its monitors listen.

    Its sockets and serial log, named after ``name``, go into ``folder``, whose path must be short.
    ``drive`` has the options of -drive for a raw image that two hosts share; it needs ``guest.disk_bytes``.
    ``incoming`` makes it a destination that waits for QMP migrate-incoming. ``paused`` (-S) keeps the
    vCPUs stopped until QMP cont; at a destination they stay stopped after the migration too.
    Raises LabError when QEMU does not start.
    """
    qmp_path, observer_path, serial_path = (folder / f"{name}{end}" for end in (".qmp", ".obs", ".serial"))
    if len(str(observer_path)) > _UNIX_PATH_MAX:
        raise LabError(f"socket path {observer_path} exceeds {_UNIX_PATH_MAX} bytes; use a shorter folder")
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (qmp_path, observer_path, serial_path):
        stale.unlink(missing_ok=True)
    command: list[str | Path] = [
        *qemu.command,
        "-name",
        # Named threads, so that their CPU time can be told apart.
        f"{name},debug-threads=on",
        "-no-user-config",
        "-nodefaults",
        "-nographic",
        "-no-reboot",
        "-machine",
        guest.machine,
        "-accel",
        accelerator.value,
        "-cpu",
        guest.cpu,
        "-m",
        f"{guest.memory_bytes // _MIB}M",
        "-smp",
        str(guest.cpus),
        "-kernel",
        image.kernel,
        "-initrd",
        image.initramfs,
        "-append",
        kernel_command_line(guest),
        "-serial",
        f"file:{serial_path}",
        "-device",
        f"virtio-net-pci,netdev=n0,mac={GUEST_MAC},romfile=",
        "-netdev",
        f"tap,id=n0,ifname={host.tap},script=no,downscript=no",
        "-qmp",
        f"unix:{qmp_path},server=on,wait=off",
        "-qmp",
        f"unix:{observer_path},server=on,wait=off",
        *guest.qemu_args,
    ]
    if drive is not None:
        # cache=none: QEMU requires it for a disk that two hosts have open.
        options = f"{drive},if=none,id=disk,cache=none"
        command += ["-drive", options, "-device", "virtio-blk-pci,drive=disk"]
    if incoming:
        command += ["-incoming", "defer"]
    if paused:
        command.append("-S")
    began_s = time.monotonic()
    process = group.start(command, name=name, namespace=host.namespace, env=qemu.env)
    machine = Machine(process, host, qmp_path, observer_path, serial_path, accelerator, began_s)
    while not (qmp_path.exists() and observer_path.exists()):
        process.require_running()
        if time.monotonic() - began_s > 20:
            raise LabError(f"QEMU {name} has no monitor after 20 s: {process.last_words()}")
        time.sleep(0.01)
    return machine


def kernel_command_line(guest: GuestSpec) -> str:
    """Return the guest's -append, from which its init takes address, memcached arguments and activity.

    Raises LabError for memcached arguments that cannot be passed on a kernel command line.
    """
    if any(set(word) & set(" ,\"'") for word in guest.memcached_args):
        raise LabError(
            f"memcached arguments {guest.memcached_args} contain a space, comma or quote; use none"
        )
    # nokaslr: the same layout in every run, so runs can be compared.
    words = [
        "console=ttyS0",
        "quiet",
        "panic=-1",
        "nokaslr",
        "mitigations=off",
        f"pt.ip={GUEST_ADDRESS}/{PREFIX_LENGTH}",
        f"pt.memory={guest.memcached_bytes // _MIB}",
    ]
    activity = (guest.activity, str(guest.activity_bytes // _MIB), str(guest.activity_bps // _MIB))
    words += [f"pt.clear={guest.clear_free:d}", f"pt.activity={','.join(activity)}"]
    if not guest.huge_pages:
        words.append("transparent_hugepage=never")
    if guest.disk_bytes:
        words.append(f"pt.disk={DISK_PORT},{DISK_SLOTS}")
    if guest.tells_page_classes:
        words.append(f"pt.classes={CLASSES_PORT}")
    if guest.memcached_args:
        words.append(f"pt.memcached={','.join(guest.memcached_args)}")
    return " ".join(words)
