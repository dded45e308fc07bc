"""A disk on NFS: a user-space server in the clients' namespace, which both QEMUs mount by themselves.

QEMU's own block driver is the NFS client, so the kernel needs no NFS and nothing stays mounted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pagethrift.errors import LabError, LinkError
from pagethrift.lab.guest.packages import NfsPrograms, nfs_programs
from pagethrift.lab.hosts.network import CLIENT_ADDRESS, TwoHosts
from pagethrift.lab.hosts.processes import ProcessGroup

_PORTMAPPER, _NFS, _MOUNT = 111, 2049, 20048
_START_TIMEOUT_S = 20.0
# rpcbind switches to the user _rpc, whom only its package's installation creates. Here _rpc is root, because
# a change of user would cancel the death signal. Its sockets are in /run, so it gets a /run of its own.
_OWN_RUN = """\
mount -t tmpfs tmpfs /run && mkdir /run/ganesha &&
{ grep -v ^_rpc: /etc/passwd; echo '_rpc:x:0:0::/run:/bin/false'; } > /run/passwd &&
mount --bind /run/passwd /etc/passwd && exec "$0" -f -w
"""


def serve(folder: Path, hosts: TwoHosts, group: ProcessGroup, logs: Path) -> None:
    """Export ``folder`` to both hosts over NFS 3 until the group ends; return once it answers.

    Raises LabError when the server cannot be fetched or does not start.
    """
    programs = nfs_programs()
    settings = logs / "nfs.conf"
    settings.write_text(_settings(folder, programs))
    own_run = ("unshare", "--mount", "--", "sh", "-c", _OWN_RUN, programs.rpcbind)
    portmapper = group.start(own_run, name="rpcbind", namespace=hosts.client_namespace, env=programs.env)
    _wait_for(_PORTMAPPER, hosts, portmapper.require_running)
    beside = ("nsenter", f"--mount=/proc/{portmapper.pid}/ns/mnt", "--")
    options = ("-F", "-f", settings, "-L", "STDERR", "-p", "/run/ganesha/pid", "-N", "NIV_CRIT")
    server = group.start(
        (*beside, programs.ganesha, *options),
        name="nfs",
        namespace=hosts.client_namespace,
        env=programs.env,
    )
    for port in (_MOUNT, _NFS):
        _wait_for(port, hosts, server.require_running)


def nfs_drive(image: Path) -> str:
    """Return the options of QEMU's -drive for an image in the exported folder."""
    driver = "driver=raw,file.driver=nfs,file.server.type=inet"
    return f"{driver},file.server.host={CLIENT_ADDRESS},file.path={image}"


def _settings(folder: Path, programs: NfsPrograms) -> str:
    # NFS 3, because QEMU's driver asks for it. UseGetpwnam: otherwise Ganesha needs /etc/idmapd.conf.
    return f"""\
NFS_CORE_PARAM {{
    Protocols = 3; NFS_Port = {_NFS}; MNT_Port = {_MOUNT};
    Bind_addr = {CLIENT_ADDRESS}; Plugins_Dir = "{programs.plugins}";
    Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = False;
}}
NFSv4 {{ UseGetpwnam = true; DomainName = "lab"; RecoveryRoot = "/run/ganesha"; }}
EXPORT {{
    Export_Id = 1; Path = "{folder}"; Pseudo = "/disk"; Access_Type = RW; Squash = No_Root_Squash;
    SecType = sys; Protocols = 3; Transports = TCP; FSAL {{ Name = VFS; }}
}}
"""


def _wait_for(port: int, hosts: TwoHosts, require_running: Callable[[], None]) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        require_running()
        try:
            hosts.connect(CLIENT_ADDRESS, port, 1.0).close()
            return
        except LinkError as error:
            if time.monotonic() > deadline_s:
                raise LabError(f"no answer from the NFS server in {_START_TIMEOUT_S:g} s: {error}") from None
        time.sleep(0.05)
