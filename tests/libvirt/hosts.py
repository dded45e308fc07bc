"""Two hosts with a libvirtd each on this machine: lab.hosts' network, and namespaces for everything else.

A host ends, with its libvirtd and every QEMU, when the first process of its PID namespace does.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.image import GuestImage, guest_image
from pagethrift.lab.guest.libvirt import LibvirtPrograms, LibvirtSeries, libvirt
from pagethrift.lab.guest.packages import QemuBinary, QemuSeries, qemu
from pagethrift.lab.hosts.network import Host, TwoHosts
from pagethrift.lab.hosts.processes import Process, ProcessGroup
from pagethrift.lab.hosts.run_folder import run_folder

SCRIPT = Path(__file__).with_name("host.sh")
SOURCES = Path(__file__).parents[2] / "src"
DOMAIN = "g"
UUID = "11111111-2222-4333-8444-555555555555"
URI = "qemu+tcp://{}/system"
START_S, COMMAND_S = 30.0, 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    said: str
    """standard output and standard error"""


class LibvirtHost:
    """One host; ``uri`` is how the other one reaches its libvirtd."""

    def __init__(
        self, host: Host, processes: ProcessGroup, holder: Process, programs: LibvirtPrograms
    ) -> None:
        self.host = host
        self.uri = URI.format(host.link_address)
        self._processes = processes
        self._holder = holder
        self._programs = programs
        self._libvirtd: Process | None = None
        until(lambda: _only_child(holder.pid), f"{host.name} has its first process")
        self.first_pid = _only_child(holder.pid)
        """of its PID namespace, as this machine numbers it"""
        until(self._is_set_up, f"{host.name} is set up")

    def path(self, path: str) -> Path:
        """Return where a file of this host is for us."""
        return Path(f"/proc/{self.first_pid}/root{path}")

    def command(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        """Return ``argv`` wrapped so that it runs on this host."""
        enter = ["nsenter", "-t", str(self.first_pid), "-m", "-n", "-u", "-i", "-p", "--"]
        # the module finds the library of its own series, which the overlay has in /usr/lib
        python = f"PYTHONPATH={self._programs.python}:{SOURCES}"
        return [*enter, "env", python, *(os.fspath(word) for word in argv)]

    def run(self, *argv: str, timeout_s: float = COMMAND_S) -> Done:
        """Run a command on this host to its end."""
        done = subprocess.run(
            self.command(argv), capture_output=True, text=True, timeout=timeout_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Done(done.returncode, (done.stdout + done.stderr).strip())

    def virsh(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        """Run virsh and return what it printed; RuntimeError when it fails."""
        done = self.run("virsh", *argv, timeout_s=timeout_s)
        if done.code:
            raise RuntimeError(f"virsh {shlex.join(argv)} on {self.host.name}: {done.said}")
        return done.said

    def start_libvirtd(self) -> None:
        """Start the daemon and wait until it answers."""
        command = self.command(["libvirtd", "--listen"])
        self._libvirtd = self._processes.start(command, name=f"libvirtd-{self.host.name}")
        until(lambda: self._answers(), f"libvirtd of {self.host.name} answers")

    def end_libvirtd(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the daemon alone: QEMUs live on."""
        os.kill(self.libvirtd_pid, number)
        assert self._libvirtd is not None
        self._libvirtd.wait(10.0)

    @contextmanager
    def libvirtd_stopped(self) -> Iterator[None]:
        """Stop the daemon; its nsenter stops itself when it does, and must go on as well."""
        assert self._libvirtd is not None
        pids = (self.libvirtd_pid, self._libvirtd.pid)
        os.kill(pids[0], signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @property
    def libvirtd_pid(self) -> int:
        """As this machine numbers it."""
        assert self._libvirtd is not None
        pid = _only_child(self._libvirtd.pid)
        assert pid
        return pid

    def state(self) -> str:
        """Return virsh's word for the domain's state; empty: there is no such domain."""
        done = self.run("virsh", "domstate", DOMAIN)
        return done.said if done.code == 0 else ""

    def clean(self) -> None:
        """End the domain here, whatever its state."""
        for what in ("destroy", "undefine"):
            self.run("virsh", what, DOMAIN)
        for each in self.path("/run/guest").iterdir():
            each.unlink()

    def end(self) -> None:
        """End everything that runs here."""
        os.kill(self.first_pid, signal.SIGKILL)

    def _is_set_up(self) -> bool:
        self._holder.require_running()
        return self.path("/run/ready").exists()

    def _answers(self) -> bool:
        assert self._libvirtd is not None
        self._libvirtd.require_running()
        return self.run("virsh", "version").code == 0


@dataclass(frozen=True, slots=True)
class LibvirtLab:
    """Both hosts, and the link between them."""

    network: TwoHosts
    a: LibvirtHost
    b: LibvirtHost
    image: GuestImage
    loses_marks: bool
    """QEMU before 9.0 under TCG loses a Linux guest's dirty marks, whoever migrates (docs/lab.md)"""
    has_zstd: bool
    """both libvirts compress parallel connections"""
    versions: str
    """such as "libvirt 9.0 + QEMU 7.2" """


@contextmanager
def libvirt_lab(series: LibvirtSeries, qemu_series: QemuSeries, link_bps: int) -> Iterator[LibvirtLab]:
    """Build both hosts, and remove them at the end. Raises LabError where this machine cannot."""
    programs, binary, image = libvirt(series), qemu(qemu_series), guest_image()
    with ExitStack() as stack:
        folder = stack.enter_context(run_folder())
        network = stack.enter_context(TwoHosts(link_bps=link_bps, back_bps=link_bps))
        processes = stack.enter_context(ProcessGroup(folder / "logs"))
        hosts = []
        for number, (host, other) in enumerate(((network.a, network.b), (network.b, network.a)), 1):
            hosts.append(_host(stack, number, host, other, folder, processes, programs, binary, image))
        for each in hosts:
            each.start_libvirtd()
        versions = f"libvirt {series} + QEMU {binary.series}"
        yield LibvirtLab(
            network, hosts[0], hosts[1], image, binary.series == "7.2", series != "9.0", versions
        )


def _host(
    stack: ExitStack, number: int, host: Host, other: Host, folder: Path, processes: ProcessGroup,
    programs: LibvirtPrograms, binary: QemuBinary, image: GuestImage,
) -> LibvirtHost:  # fmt: skip
    own = folder / host.name
    own.mkdir()
    lower, modules = [programs.usr], ""
    usr = binary.path.parents[1]
    if usr != Path("/usr"):
        lower.append(usr)
        modules = str(next(usr.glob("lib/*-linux-gnu/qemu"), ""))
    holder = processes.start(
        [
            *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(SCRIPT, f"host{host.name.lower()}", str(number), host.link_address, other.link_address, own),
            *(":".join(map(str, lower)), modules, image.kernel, image.initramfs),
        ],
        name=f"host-{host.name}",
        namespace=host.namespace,
    )
    found = LibvirtHost(host, processes, holder, programs)
    stack.callback(found.end)
    return found


def until(reached: Callable[[], object], what: str, timeout_s: float = START_S) -> object:
    """Return what ``reached`` returns once that is true. Raises LabError after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := reached()):
        if time.monotonic() > deadline_s:
            raise LabError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(0.05)
    return value


def _only_child(pid: int) -> int:
    """Return the number of a process's child, 0 while there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0
