"""Debian packages: resolved and downloaded by a private apt, unpacked beside the system.

The packages come from the archive that the machine already uses: its own apt entry is copied into a
private apt configuration with the backports suite added. The system's apt is never touched.

Packages of the machine's own release use its libraries. Those of another release come with all of
their own, the C library included: a newer program does not run on an older C library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pagethrift.errors import LabError
from pagethrift.lab.guest.aptsources import derive_sources, read_sources
from pagethrift.lab.guest.cache import cache_dir, locked

_LISTS_FRESH_S = 3600.0
# What the packages of another release need only while they are installed. Without these two, no passwd, no
# PAM and no program with the setuid bit gets into the cache.
_TAKEN_AS_INSTALLED = ("adduser", "debconf")


def codename() -> str:
    """Return the name of this machine's Debian release, such as bookworm; empty when it has none."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.MULTILINE)
    return match[1] if match else ""


def release_of(suite: str) -> str:
    """Return the release that a suite belongs to: trixie for trixie-backports."""
    return suite.split("-")[0]


def unpack(names: Sequence[str], suite: str, folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Unpack packages of a suite and every library that the system lacks; return the versions.

    The system lacks all libraries of a release that is not its own. Packages whose names begin as one of
    ``without`` are left out.
    Raises LabError.
    """
    options = apt_options(release_of(suite))
    # --reinstall lists the named packages even where the system has the very same version, and the
    # simulation adds every library the system lacks.
    plan = run(
        [
            "apt-get",
            *options,
            "--simulate",
            "--no-install-recommends",
            "--reinstall",
            "--allow-downgrades",
            "-t",
            suite,
            "install",
            *names,
        ],
        what=f"asking apt for {names[0]} of {suite}",
    )
    packages = dict(re.findall(r"^Inst (\S+)(?: \[[^\]]*\])? \((\S+) ", plan, re.MULTILINE))
    if release_of(suite) == codename():
        packages.pop("libc6", None)
    packages = {name: version for name, version in packages.items() if not name.startswith(without)}
    download([f"{name}={version}" for name, version in packages.items()], folder, options)
    return packages


def download(packages: Sequence[str], folder: Path, options: Sequence[str]) -> None:
    """Download packages with the private apt's ``options`` and unpack them into ``folder``.

    Raises LabError.
    """
    archives = folder / "archives"
    archives.mkdir()
    run(["apt-get", *options, "download", *packages], cwd=archives, what=f"downloading {packages[0]}")
    for archive in sorted(archives.glob("*.deb")):
        run(["dpkg", "-x", str(archive), str(folder)], what=f"unpacking {archive.name}")
    shutil.rmtree(archives)


def apt_options(release: str = "") -> list[str]:
    """Write the private apt configuration, refresh its lists if old, return the options that use it.

    ``release`` is the release whose packages are wanted, by default the machine's own. Of another one
    nothing counts as installed. Raises LabError.
    """
    own = codename()
    foreign = release not in ("", own)
    folder = cache_dir() / (f"apt-{release}" if foreign else "apt")
    with locked(folder.name):
        for sub in ("lists/partial", "cache/archives/partial"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        sources = folder / "archive.sources"
        sources.write_text(derive_sources(read_sources(), own, release))
        options = [
            f"-oDir::Etc::SourceList={sources}",
            "-oDir::Etc::SourceParts=-",
            f"-oDir::State::Lists={folder / 'lists'}",
            f"-oDir::Cache={folder / 'cache'}",
            "-oAcquire::Languages=none",
            "-oAPT::Sandbox::User=root",
            "-oAPT::Get::List-Cleanup=0",
        ]
        if foreign:
            status = folder / "status"
            status.write_text("\n".join(_installed(name) for name in _TAKEN_AS_INSTALLED))
            options.append(f"-oDir::State::status={status}")
        stamp = folder / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _LISTS_FRESH_S:
            run(["apt-get", *options, "update"], what="updating the private package lists")
            stamp.touch()
    return options


def run(
    command: Sequence[str], *, what: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a program with ``env`` added and return what it printed. Raises LabError, which says ``what``."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{what}: program {command[0]} is missing; run scripts/setup-system.sh") from None
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "no message")
        raise LabError(f"{what}: {command[0]} failed ({said}); check network and apt sources")
    return done.stdout


def _installed(name: str) -> str:
    """Return a paragraph of dpkg's status file for a package that counts as installed."""
    return (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: 9999\n"
        "Maintainer: none\nDescription: taken as installed\n"
    )
