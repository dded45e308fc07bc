"""Two hosts with Debian 12, systemd and libvirt, and nothing of pagethrift, in containers on this machine.

What a container cannot have of its own is prepared before anything is timed: libvirt's host UUID, which it
would take from this machine's firmware for both, control groups, and machined, which counts by them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

BRIDGE = "ptnew"
NETWORK = "10.0.0."
PACKAGES = (
    "systemd-sysv dbus iproute2 procps openssh-server nftables netcat-openbsd ca-certificates python3"
    " python3-libvirt libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86"
)
NAMES = ("host1", "host2")
RATE = "200mbit"
"""of the link into each host"""
READY_S = 120.0
COMMAND_S = 300.0
END_S = 30.0
IN_CONTAINERS = {
    "libvirtd.conf": 'host_uuid_source = "machine-id"\n',
    "qemu.conf": "cgroup_controllers = []\n",
}
NETWORK_FILE = """[Match]
Name=host0
[Network]
Address={address}/16
LinkLocalAddressing=no
"""


class Host:
    """One host, booted."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        self.address = f"{NETWORK}{NAMES.index(name) + 1}"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> None:
        """Boot it, and wait until systemd has started what it starts."""
        (self.root / "etc/systemd/network/10-host0.network").write_text(
            NETWORK_FILE.format(address=self.address)
        )
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        subprocess.run(["ip", "link", "delete", f"vb-{self.name}"], capture_output=True, check=False)
        log = self.root.with_name(f"{self.name}.log")
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn", "--quiet", "--boot", "--keep-unit", "--register=no", "--link-journal=no",
                f"--directory={self.root}", f"--machine={self.name}", f"--network-bridge={BRIDGE}",
                "--capability=all", "--system-call-filter=@mount @module bpf keyctl",
            ],
            stdin=subprocess.DEVNULL, stdout=log.open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        deadline_s = time.monotonic() + READY_S
        while not (self._find_init() and self._is_up()):
            if self._nspawn.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{self.name} does not boot: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.2)
        shape = f"qdisc add dev vb-{self.name} root tbf rate {RATE} burst 64kb latency 100ms"
        _run("tc", *shape.split())

    def run(self, command: str, timeout_s: float = COMMAND_S) -> str:
        """Run a shell command as its root; return what it printed. RuntimeError when it fails."""
        done = self._enter(command, timeout_s)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {command}: {(done.stdout + done.stderr).strip()}")
        return done.stdout.strip()

    def end(self) -> None:
        """Shut it down."""
        if self._nspawn is not None:
            self._nspawn.terminate()
            try:
                self._nspawn.wait(END_S)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

    def _enter(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", "PAGER=cat"]
        return subprocess.run(
            [
                "nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root",
                *environment, "bash", "-c", f"cd /root; {command}",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s, cwd="/",
        )  # fmt: skip

    def _find_init(self) -> bool:
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        found = children.read_text().split() if children.exists() else []
        self._init = int(found[0]) if found else 0
        return self._init > 0

    def _is_up(self) -> bool:
        ready = (
            f"systemctl is-active --quiet libvirtd ssh && ip -4 -o addr show host0 | grep -q {self.address}"
        )
        return self._enter(ready, 20.0).returncode == 0


def missing() -> str:
    """Say what this machine lacks; empty: nothing."""
    programs = [each for each in ("mmdebstrap", "systemd-nspawn", "tc") if not shutil.which(each)]
    return f"no {', '.join(programs)}: apt install mmdebstrap systemd-container iproute2" if programs else ""


@contextmanager
def hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Make and boot both; whatever they changed is gone at the end."""
    if why := missing():
        raise RuntimeError(why)
    base = folder / "base"
    if not base.exists():
        _make_base(base)
    with ExitStack() as stack:
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        stack.callback(_run, "ip", "link", "delete", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        made = []
        for name in NAMES:
            root = folder / name
            layers = [folder / f"{name}-{each}" for each in ("upper", "work")]
            for each in (root, *layers):
                shutil.rmtree(each, ignore_errors=True)
                each.mkdir()
            options = f"lowerdir={base},upperdir={layers[0]},workdir={layers[1]}"
            _run("mount", "-t", "overlay", "overlay", "-o", options, str(root))
            stack.callback(_run, "umount", "--lazy", str(root))
            made.append(Host(name, root))
        _introduce(made)
        for host in made:
            stack.callback(host.end)
            host.boot()
        yield made[0], made[1]


def _make_base(base: Path) -> None:
    """Install Debian 12 with libvirt, as a host of guests has it."""
    unfinished = base.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(
        "mmdebstrap", "--mode=root", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"",
        f"--include={PACKAGES.replace(' ', ',')}", "bookworm", str(unfinished),
    )  # fmt: skip
    for name in ("systemd-networkd", "ssh", "libvirtd"):
        _run("chroot", str(unfinished), "systemctl", "enable", name)
    (unfinished / "usr/share/dbus-1/system-services/org.freedesktop.machine1.service").unlink()
    for name, lines in IN_CONTAINERS.items():
        with (unfinished / "etc/libvirt" / name).open("a") as file:
            file.write(lines)
    unfinished.rename(base)


def _introduce(made: list[Host]) -> None:
    """Let root of each log in at the other, and let each know the other's name."""
    names = "".join(f"{host.address} {host.name}\n" for host in made)
    keys = ""
    for host in made:
        ssh = host.root / "root/.ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "id_ed25519"))
        keys += (ssh / "id_ed25519.pub").read_text()
    for host in made:
        (host.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (host.root / "root/.ssh/authorized_keys").write_text(keys)
        (host.root / "root/.ssh/config").write_text("Host *\n    StrictHostKeyChecking accept-new\n")
        (host.root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise RuntimeError(f"{' '.join(command[:3])} failed")
