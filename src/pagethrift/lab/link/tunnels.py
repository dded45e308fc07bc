"""Tunnels that protect a migration: OpenSSH and stunnel, with keys made for one run.

Both run as an operator would run them, but with their own settings files instead of the system's;
ciphers are the programs' defaults.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pagethrift.errors import LabError

HostPort = tuple[str, int]

# sshd needs this folder; Debian's boot script makes it, a container has none.
_SSHD_FOLDER = Path("/run/sshd")


class Tunnel(Protocol):
    """How to start the two ends of a tunnel."""

    @property
    def version(self) -> str:
        """Program and version."""
        ...

    def far_end(self, listen: HostPort, target: HostPort) -> list[str]:
        """Return the command for the far end: it listens on the link and connects to ``target``."""
        ...

    def near_end(self, hop: HostPort, listen: HostPort, target: HostPort) -> list[str]:
        """Return the command for the near end: it listens at the source and connects through ``hop``."""
        ...


def ssh_tunnel(folder: Path) -> Tunnel:
    """Make throwaway keys in ``folder``. Raises LabError when OpenSSH is missing."""
    program = tunnel_program("sshd", "openssh-server")
    tunnel_program("ssh", "openssh-client")
    for name in ("ssh-host", "ssh-user"):
        keygen = tunnel_program("ssh-keygen", "openssh-client")
        run_program(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "pagethrift-lab", "-f", str(folder / name)]
        )
    return _SshTunnel(
        folder, program, run_program([tunnel_program("ssh", "openssh-client"), "-V"]).split(",")[0]
    )


def tls_tunnel(folder: Path) -> Tunnel:
    """Make throwaway certificates in ``folder``. Raises LabError when stunnel is missing."""
    program = tunnel_program("stunnel4", "stunnel4")
    for name in ("tls-far", "tls-near"):
        run_program([
            tunnel_program("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2",
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-subj", f"/CN=pagethrift-{name}",
            "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"),
        ])  # fmt: skip
    said = run_program([program, "-version"]).splitlines()
    version = next((line for line in said if line.startswith("stunnel ")), "stunnel")
    return _TlsTunnel(folder, program, " ".join(version.split()[:2]))


@dataclass(frozen=True, slots=True)
class _SshTunnel:
    folder: Path
    program: str
    version: str

    def far_end(self, listen: HostPort, target: HostPort) -> list[str]:
        _SSHD_FOLDER.mkdir(mode=0o755, exist_ok=True)
        # StrictModes looks at the parents of the key file, and /tmp is open to everybody.
        settings = f"""\
ListenAddress {listen[0]}
Port {listen[1]}
HostKey {self.folder / "ssh-host"}
AuthorizedKeysFile {self.folder / "ssh-user.pub"}
StrictModes no
UsePAM no
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding local
PermitOpen {target[0]}:{target[1]}
PermitTTY no
"""
        path = self.folder / "sshd.conf"
        path.write_text(settings)
        return [self.program, "-D", "-e", "-f", str(path)]

    def near_end(self, hop: HostPort, listen: HostPort, target: HostPort) -> list[str]:
        known = self.folder / "ssh-known-hosts"
        known.write_text(f"lab {(self.folder / 'ssh-host.pub').read_text()}")
        settings = f"""\
Host lab
HostName {hop[0]}
Port {hop[1]}
User {pwd.getpwuid(os.geteuid()).pw_name}
HostKeyAlias lab
UserKnownHostsFile {known}
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
IdentityFile {self.folder / "ssh-user"}
IdentitiesOnly yes
IdentityAgent none
BatchMode yes
ExitOnForwardFailure yes
LocalForward {listen[0]}:{listen[1]} {target[0]}:{target[1]}
"""
        path = self.folder / "ssh.conf"
        path.write_text(settings)
        return [tunnel_program("ssh", "openssh-client"), "-F", str(path), "-N", "lab"]


@dataclass(frozen=True, slots=True)
class _TlsTunnel:
    folder: Path
    program: str
    version: str

    def far_end(self, listen: HostPort, target: HostPort) -> list[str]:
        return self._command("tls-far", "tls-near", "no", listen, target)

    def near_end(self, hop: HostPort, listen: HostPort, target: HostPort) -> list[str]:
        return self._command("tls-near", "tls-far", "yes", listen, hop)

    def _command(self, own: str, peer: str, client: str, accept: HostPort, to: HostPort) -> list[str]:
        settings = f"""\
foreground = yes
pid =
syslog = no
debug = notice
[migration]
client = {client}
accept = {accept[0]}:{accept[1]}
connect = {to[0]}:{to[1]}
cert = {self.folder / own}.crt
key = {self.folder / own}.key
CAfile = {self.folder / peer}.crt
verifyPeer = yes
sslVersionMin = TLSv1.3
"""
        path = self.folder / f"{own}.conf"
        path.write_text(settings)
        return [self.program, str(path)]


def tunnel_program(name: str, package: str) -> str:
    """Return the path of a program, even outside users' PATH. Raises LabError."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise LabError(f"a protected link needs {name}, which is not installed; install package {package}")
    return path


def run_program(command: list[str]) -> str:
    """Run a command and return what it said, without its last line's end. Raises LabError when it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout.strip().splitlines() or ["no message"])[-1]
        raise LabError(f"{command[0]} failed: {said}; check its package")
    return done.stdout.strip()
