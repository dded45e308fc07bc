"""libvirt's daemon, client and Python library, unpacked into the cache and never installed.

Installing them would start services on this machine, and the newer series would replace its QEMU.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pagethrift.errors import LabError
from pagethrift.lab.guest.cache import cached, kept_facts
from pagethrift.lab.guest.debian import codename, unpack

LibvirtSeries = Literal["9.0", "11.3"]

_PACKAGES = ("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "python3-libvirt")
_SUITES: Mapping[tuple[str, str], str] = {
    ("bookworm", "9.0"): "bookworm",
    ("bookworm", "11.3"): "bookworm-backports",
    ("trixie", "11.3"): "trixie",
}
_OF_THE_SYSTEM = ("systemd", "udev", "libpam-", "libnss-", "libxml2-dev")
"""packages whose programs must be the running system's own begin so; libvirtd does without"""
_MERGED = ("bin", "sbin", "lib")


@dataclass(frozen=True, slots=True)
class LibvirtPrograms:
    """An unpacked libvirt."""

    usr: Path
    """its /usr, to be laid over the system's: libvirtd looks for its drivers at fixed paths"""
    version: str
    """of the package libvirt-daemon"""
    python: Path
    """the folder with the module ``libvirt``, for PYTHONPATH"""


def libvirt(series: LibvirtSeries, *, fetch: bool = True) -> LibvirtPrograms:
    """Return libvirt of a series, unpacked into the cache; the first call downloads about 10 MB.

    With ``fetch`` False nothing is downloaded.
    Raises LabError when this Debian release offers no such libvirt.
    """
    root = cached(f"libvirt-{series}", lambda folder: _unpack(series, folder), fetch=fetch)
    packages = kept_facts(root)["packages"]
    usr = root / "usr"
    return LibvirtPrograms(usr, str(packages["libvirt-daemon"]), usr / "lib/python3/dist-packages")


def _unpack(series: str, folder: Path) -> dict[str, object]:
    suite = _SUITES.get((codename(), series))
    if suite is None:
        release = codename() or "(unknown)"
        raise LabError(f"Debian {release} offers no libvirt {series}; choose one of {sorted(_SUITES)}")
    packages = unpack(_PACKAGES, suite, folder, without=_OF_THE_SYSTEM)
    for name in _MERGED:  # Debian 12 unpacks into /lib what an overlay over /usr must have in /usr/lib
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.copytree(folder / name, folder / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder / name)
    return {"packages": packages}
