"""A network namespace with the nat rule of docs/operating.md, by real nftables."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagethrift.errors import PagethriftError
from pagethrift.lab.guest.cache import cached
from pagethrift.lab.guest.debian import codename, unpack
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.hosts.namespaces import NamespaceThread
from tests.services import ServiceProcess

PAGE = Path(__file__).parents[1] / "docs/operating.md"
GROUP = 4242
V4, V6 = "10.5.0.1", "fd05::1"
PORT = 49160
LISTEN = ("--redirect", "127.0.0.1:4400", "--redirect", "[::1]:4400")


def nft_program() -> tuple[str, dict[str, str]]:
    """Return nft and what its environment needs; unpacked into the lab's cache where the system has none."""
    system = shutil.which("nft")
    if system is not None:
        return system, {}
    try:
        root = cached("nft", lambda folder: {"packages": unpack(("nftables",), codename(), folder)})
    except PagethriftError as error:
        pytest.skip(f"NOT TESTED: no nft here, and none can be fetched: {error}")
    libraries = ":".join(
        str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))
    )
    return str(root / "usr/sbin/nft"), {"LD_LIBRARY_PATH": libraries}


def documented_rule() -> str:
    """Return the rule of the page, for a group that needs no entry in /etc/group."""
    (rule,) = re.findall(r"```\n(table inet pagethrift \{.*?\n\}\n)```", PAGE.read_text(), re.DOTALL)
    assert "skgid pagethrift" in rule
    return str(rule).replace("skgid pagethrift", f"skgid {GROUP}")


def _nft(thread: NamespaceThread, commands: str) -> str:
    """Run nft in a namespace; return what it complains of."""
    nft, environment = nft_program()
    done = thread.call(
        lambda: subprocess.run(
            [nft, "-f", "-"], input=commands, env={**os.environ, **environment}, text=True,
            capture_output=True, check=False,
        )
    )  # fmt: skip
    return done.stderr if done.returncode else ""


def set_rule(thread: NamespaceThread) -> None:
    """Make the rule in a namespace; skips where this kernel cannot have it."""
    error = _nft(thread, documented_rule())
    if "Operation not supported" in error or "No such file" in error:
        pytest.skip(f"NOT TESTED: this kernel has no nat for nftables: {error}")
    assert error == ""


def remove_rule(thread: NamespaceThread) -> None:
    """Undo it."""
    assert _nft(thread, "delete table inet pagethrift\n") == ""


class Net:
    """A namespace with two addresses of its own and the rule."""

    def __init__(self, thread: NamespaceThread) -> None:
        self.thread = thread

    def run(self, *command: str) -> None:
        done = self.thread.call(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
        assert done.returncode == 0, done.stderr

    def server(self, host: str, port: int = PORT) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self.thread.call(lambda: socket.create_server((host, port), family=family))

    def connect(self, host: str, port: int = PORT) -> socket.socket:
        found = self.thread.call(socket.create_connection, (host, port), 10)
        found.settimeout(20)
        return found

    def service(self, *more: str, group: int = GROUP) -> ServiceProcess:
        return self.thread.call(lambda: ServiceProcess(*LISTEN, *more, group=group))


@contextlib.contextmanager
def nat_namespace() -> Iterator[Net]:
    """Make the namespace; skips, saying why, where this machine cannot have it."""
    try:
        namespaces.require_rights()
    except PagethriftError as error:
        pytest.skip(f"NOT TESTED: {error}")
    name = namespaces.unique_prefix()
    namespaces.create(name)
    thread = NamespaceThread(name)
    try:
        net = Net(thread)
        switches = "/proc/sys/net/ipv6/conf/{all,default,lo}/disable_ipv6"
        net.run("bash", "-c", f"for each in {switches}; do echo 0 >$each; done")
        net.run("ip", "address", "add", f"{V4}/32", "dev", "lo")
        net.run("ip", "address", "add", f"{V6}/128", "dev", "lo", "nodad")
        set_rule(thread)
        yield net
    finally:
        thread.close()
        namespaces.remove(name)
