"""What the lab needs and this machine has or lacks, as data."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from pagethrift.errors import LabError, PagethriftError
from pagethrift.lab.guest.acceleration import probe_kvm
from pagethrift.lab.guest.cache import cache_dir
from pagethrift.lab.guest.disk import disk_program, make_disk
from pagethrift.lab.guest.packages import QemuSeries, kernel, nfs_programs, qemu, with_nfs_driver
from pagethrift.lab.hosts import namespaces
from pagethrift.lab.link.tunnels import ssh_tunnel, tls_tunnel
from pagethrift.units import format_bytes

_SETUP = "run scripts/setup-system.sh as root"
_GIB = 2**30
# Two guests of 1 GiB, a relay, a client and the page cache.
_MEMORY_WANTED_BYTES = 4 * _GIB
# Unpacked QEMU 90 MB (11.1: 160 MB), kernel 110 MB, package lists 20 MB, images; the rest is for results.
_DISK_WANTED_BYTES = _GIB
# With fewer than one core each, source, destination, relay and client disturb one another.
_CORES_WANTED = 4
_TRIED_DISK_BYTES = 8 << 20


class CheckStatus(StrEnum):
    """The result of a check."""

    OK = "ok"
    MISSING = "missing"
    """the lab cannot run without it"""
    DEGRADED = "degraded"
    """the lab runs, but slower or with fewer features"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the lab needs."""

    name: str
    status: CheckStatus
    detail: str
    remedy: str = ""
    """what to do; empty when nothing is wrong"""


def examine(*, fetch: bool = False) -> list[Check]:
    """Return all checks. Takes about 0.3 s, and once per boot up to 5 s more to try KVM.

    ``fetch`` allows downloading QEMU and the guest kernel; KVM cannot be tried without them.
    """
    kvm = _kvm(fetch)
    programs = [
        _program("setpriv", "util-linux"),
        _program("nsenter", "util-linux"),
        _program("cpio", "cpio"),
        _program("memcached", "memcached"),
        _program("busybox", "busybox-static"),
        _only_for("redis", _program("redis-server", "redis-server")),
        _only_for("thesis", _program("memcaslap", "libmemcached-tools")),
    ]
    return [
        _root(),
        *examine_network(),
        *programs,
        _old_qemu(_qemu("7.2", fetch), kvm),
        _qemu("10.0", fetch),
        *_newest_qemu(),
        _kernel(fetch),
        kvm,
        *examine_options(),
        _nfs(fetch),
        _cores(),
        _memory(),
        _disk(),
    ]


def examine_options() -> list[Check]:
    """Return the checks of features that only some scenarios need; each feature is really tried."""
    with TemporaryDirectory(prefix="ptl-doctor-") as name:
        folder = Path(name)

        def disk() -> None:
            for program in ("fsck.ext4", "debugfs"):
                disk_program(program)
            make_disk(folder / "disk.img", _TRIED_DISK_BYTES)

        def tried(name: str, key: str, attempt: Callable[[], object]) -> Check:
            remedy = f"{_SETUP}, or run scenarios without {key}"
            return _tried(name, CheckStatus.DEGRADED, remedy, attempt)

        return [
            tried("SSH tunnel", "link.security = ssh", lambda: ssh_tunnel(folder)),
            tried("TLS tunnel", "link.security = tls", lambda: tls_tunnel(folder)),
            tried("shared disk", "guest.disk", disk),
        ]


def examine_network() -> list[Check]:
    """Return the checks of namespaces, tap devices and shaping; each is really tried."""
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return [Check("network tools", CheckStatus.MISSING, "no ip or tc", f"{_SETUP} (package iproute2)")]
    try:
        with _scratch_namespace() as namespace:
            return [
                Check("network namespaces", CheckStatus.OK, "work"),
                _tried(
                    "tap devices",
                    CheckStatus.MISSING,
                    "load the kernel module tun",
                    lambda: namespaces.add_tap(namespace, "tap0"),
                ),
                _tried(
                    "shaping (tbf)",
                    CheckStatus.MISSING,
                    "use a kernel with sch_tbf",
                    lambda: _tc(namespace, "tbf", "rate", "1mbit", "burst", "64kb", "latency", "50ms"),
                ),
                _tried(
                    "added delay (netem)",
                    CheckStatus.DEGRADED,
                    "use a kernel with sch_netem; without it a process of the lab adds the delay (forwarder)",
                    lambda: _tc(namespace, "netem", "delay", "1ms"),
                ),
            ]
    except LabError as error:
        remedy = "run as root, outside a container"
        return [Check("network namespaces", CheckStatus.MISSING, str(error), remedy)]


@contextmanager
def _scratch_namespace() -> Iterator[str]:
    namespace = f"{namespaces.unique_prefix()}-doctor"
    try:
        namespaces.create(namespace)
        yield namespace
    finally:
        namespaces.remove(namespace)


def _tried(
    name: str, otherwise: CheckStatus, remedy: str, attempt: Callable[[], object], found: str = "works"
) -> Check:
    try:
        attempt()
    except LabError as error:
        return Check(name, otherwise, str(error), remedy)
    return Check(name, CheckStatus.OK, found)


def _tc(namespace: str, *qdisc: str) -> None:
    done = subprocess.run(
        ["tc", "-n", namespace, "qdisc", "replace", "dev", "lo", "root", *qdisc],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError((done.stderr.strip().splitlines() or ["no message"])[0])


def _root() -> Check:
    return _tried(
        "root", CheckStatus.MISSING, "run the lab as root (sudo)", namespaces.require_rights, found="yes"
    )


def _program(name: str, package: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name, CheckStatus.MISSING, "not found", f"{_SETUP} (package {package})")
    return Check(name, CheckStatus.OK, path)


def _only_for(scenario: str, check: Check) -> Check:
    if check.status is CheckStatus.OK:
        return check
    return replace(check, status=CheckStatus.DEGRADED, detail=f"{check.detail}; scenario {scenario} needs it")


def _qemu(series: QemuSeries, fetch: bool) -> Check:
    try:
        found = qemu(series, fetch=fetch)
    except LabError as error:
        return Check(f"QEMU {series}", CheckStatus.DEGRADED, str(error), "let the lab fetch it (Debian 12)")
    return Check(f"QEMU {series}", CheckStatus.OK, f"{found.version}, {found.path}")


def _newest_qemu() -> list[Check]:
    # Nothing asks for it by default, so it counts only where somebody did.
    found = _qemu("11.1", fetch=False)
    return [found] if found.status is CheckStatus.OK else []


def _old_qemu(found: Check, kvm: Check) -> Check:
    # Plain direct migrations of the lab's Linux guest, lightly loaded, under TCG: on 7.2.22 the guest
    # hung or panicked at the destination in 4 of 7, on 10.0.2 in 0 of 6 (7.2 loses dirty marks).
    if found.status is not CheckStatus.OK or kvm.status is CheckStatus.OK:
        return found
    detail = f"{found.detail}; under TCG it loses dirty marks, and Linux guests often die in plain migrations"
    return replace(found, status=CheckStatus.DEGRADED, detail=detail, remedy="use QEMU 10.0 for Linux guests")


def _kernel(fetch: bool) -> Check:
    try:
        return Check("guest kernel", CheckStatus.OK, kernel(fetch=fetch).release)
    except LabError as error:
        return Check("guest kernel", CheckStatus.DEGRADED, str(error), "let the lab fetch it (Debian)")


def _nfs(fetch: bool) -> Check:
    def attempt() -> None:
        nfs_programs(fetch=fetch)
        with_nfs_driver(qemu("10.0", fetch=fetch), fetch=fetch)

    return _tried(
        "disk on NFS", CheckStatus.DEGRADED, "let the lab fetch it (Debian)", attempt, found="available"
    )


def _kvm(fetch: bool) -> Check:
    remedy = "the lab uses TCG (software emulation); for KVM use real hardware or full nested virtualisation"
    for series in ("10.0", "7.2"):
        try:
            kernel(fetch=fetch)
            probe = probe_kvm(qemu(series, fetch=fetch))
        except PagethriftError as error:
            detail = f"not tried: {error}"
            continue
        if probe.works:
            return Check("KVM", CheckStatus.OK, probe.detail)
        return Check("KVM", CheckStatus.DEGRADED, probe.detail, remedy)
    return Check("KVM", CheckStatus.DEGRADED, detail, remedy)


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    if cores >= _CORES_WANTED:
        return Check("cores", CheckStatus.OK, str(cores))
    return Check(
        "cores",
        CheckStatus.DEGRADED,
        f"{cores}: two guests, relay and client share them",
        f"use {_CORES_WANTED} or more, or compare only within one run",
    )


def _memory() -> Check:
    available_bytes = psutil.virtual_memory().available
    detail = f"{format_bytes(available_bytes)} available"
    if available_bytes >= _MEMORY_WANTED_BYTES:
        return Check("memory", CheckStatus.OK, detail)
    return Check("memory", CheckStatus.DEGRADED, detail, "use smaller guests")


def _disk() -> Check:
    try:
        cache_dir()
    except LabError as error:
        return Check("disk", CheckStatus.MISSING, str(error), "set PAGETHRIFT_CACHE to a folder that you own")
    free_bytes = shutil.disk_usage(cache_dir()).free
    detail = f"{format_bytes(free_bytes)} free in {cache_dir()}"
    if free_bytes >= _DISK_WANTED_BYTES:
        return Check("disk", CheckStatus.OK, detail)
    return Check("disk", CheckStatus.DEGRADED, detail, "free space in it or set PAGETHRIFT_CACHE elsewhere")
