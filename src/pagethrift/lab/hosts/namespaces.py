"""Network namespaces: making, entering from a thread, and removing them."""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from pagethrift.errors import LabError, LinkError

_RUN = Path("/run/netns")
_PREFIX = "pt-"
_CLONE_NEWNET = 0x40000000
# CAP_NET_ADMIN and CAP_SYS_ADMIN: linux/capability.h
_RIGHTS = 1 << 12 | 1 << 21
_RUNS = itertools.count(1)

P = ParamSpec("P")
T = TypeVar("T")


class NamespaceThread:
    """A thread that lives in one namespace and carries out calls in it.

    A socket made in the namespace stays in it, even when another thread uses the socket.
    """

    def __init__(self, namespace: str) -> None:
        """Start the thread. Raises LabError when the namespace cannot be entered."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=namespace)
        try:
            self.call(_enter, namespace)
        except BaseException:
            self.close()
            raise

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the namespace and return its value; its exceptions are raised."""
        return self._executor.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()


def require_rights() -> None:
    """Raise LabError unless this process may make namespaces and devices."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if effective & _RIGHTS != _RIGHTS:
        raise LabError(
            f"the lab makes network namespaces, which user id {os.geteuid()} may not; run it as root (sudo)"
        )


def unique_prefix() -> str:
    """Return pt-PID-RUN, the beginning of the names of one run's namespaces."""
    return f"{_PREFIX}{os.getpid()}-{next(_RUNS)}"


def create(namespace: str) -> None:
    """Make a namespace with its loopback up and IPv6 off. Raises LabError without the rights."""
    _ip(["ip", "netns", "add", namespace])
    # Router solicitations and the like would count as bytes on the migration link.
    script = "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; ip link set lo up"
    _ip(["nsenter", f"--net={_RUN / namespace}", "sh", "-c", f"({script}) 2>/dev/null || true"])


def remove(namespace: str) -> None:
    """Remove a namespace and its devices; a namespace that does not exist is no error."""
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def sweep_leftovers() -> list[str]:
    """Remove the lab's namespaces whose process no longer lives; return their names."""
    swept = []
    for path in _RUN.glob(f"{_PREFIX}*-*") if _RUN.is_dir() else ():
        pid = path.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            remove(path.name)
            swept.append(path.name)
    return sorted(swept)


def add_tap(namespace: str, device: str) -> None:
    """Make a persistent tap device in the namespace. Raises LabError when the machine lacks tun."""
    _ip(["nsenter", f"--net={_RUN / namespace}", "ip", "tuntap", "add", device, "mode", "tap"])


def connect_from(namespace: str, address: tuple[str, int], timeout_s: float) -> socket.socket:
    """Return a blocking TCP connection made inside the namespace, usable from any thread.

    Raises LinkError when no server answers within ``timeout_s``.
    """
    thread = NamespaceThread(namespace)
    try:
        connection = thread.call(socket.create_connection, address, timeout_s)
        connection.settimeout(None)
        return connection
    except OSError as error:
        raise LinkError(f"no connection from {namespace} to {address[0]}:{address[1]}: {error}") from error
    finally:
        thread.close()


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fd = os.open(_RUN / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"no namespace {namespace}: {error.strerror}") from error
    try:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise LabError(f"cannot enter namespace {namespace}: {reason}; run as root")
    finally:
        os.close(fd)


def _ip(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"program {command[0]} is missing; install iproute2 and util-linux") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LabError(f"{' '.join(command)} failed: {said}; the lab needs root and network namespaces")
