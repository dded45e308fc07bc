"""This machine's Debian as it would be without this project: what is installed into it stays in a folder.

/usr, /etc and /var are overlays, everything else but /proc and /dev is empty, and there is no network.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LAYERED, EMPTY = ("usr", "etc", "var"), ("root", "home", "tmp", "mnt", "run")
COMMAND_S = 240
MOUNTS = """
set -e
mount --make-rprivate /
cd "$1"
mount -t tmpfs tmpfs root
for folder in usr etc var; do
    mkdir root/$folder
    layers="lowerdir=/$folder,upperdir=$PWD/upper/$folder,workdir=$PWD/work/$folder"
    mount -t overlay overlay -o "$layers" root/$folder
done
for folder in root home tmp mnt run; do
    mkdir root/$folder
    mount --bind "kept/$folder" root/$folder
done
for link in bin sbin lib lib64; do ln -s usr/$link root/$link; done
mkdir root/proc root/dev root/sys
mount -t proc proc root/proc
mount --bind /dev root/dev
shift
exec chroot root env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
"""


@dataclass(frozen=True, slots=True)
class CleanDebian:
    """A Debian in a folder."""

    folder: Path

    def run(self, *command: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it, as root; what it changes is there for the next."""
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        return subprocess.run(
            [*unshare, "bash", "-c", MOUNTS, "clean-debian", str(self.folder), *command],
            input=input, capture_output=True, check=False, timeout=COMMAND_S,
        )  # fmt: skip

    def ok(self, *command: str, input: bytes | None = None) -> str:
        """Return what a command prints that must succeed."""
        done = self.run(*command, input=input)
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout.decode(errors="replace")

    def place(self, path: Path) -> str:
        """Put a file into it; return its path there."""
        shutil.copy(path, self.folder / "kept/mnt")
        return f"/mnt/{path.name}"

    def changed(self) -> set[str]:
        """Return all files that differ from this machine's, and all folders that it does not have."""
        upper, kept = self.folder / "upper", self.folder / "kept"
        found = [(path, path.relative_to(upper)) for path in upper.rglob("*")]
        found += [(path, path.relative_to(kept)) for path in (kept / "run").rglob("*")]
        return {str(name) for path, name in found if not (path.is_dir() and Path("/", name).is_dir())}


@contextmanager
def clean_debian() -> Iterator[CleanDebian]:
    """Make one; skips, saying so, where this machine is no Debian or allows no mounts."""
    if shutil.which("dpkg") is None or not Path("/usr/bin/python3").exists():
        pytest.skip("NOT INSTALLED INTO A CLEAN SYSTEM: this is no Debian with python3")
    with tempfile.TemporaryDirectory(prefix="ptd") as name:
        made = CleanDebian(Path(name))
        for folder in ("root", *(f"{kind}/{each}" for kind in ("upper", "work") for each in LAYERED)):
            (made.folder / folder).mkdir(parents=True)
        for each in EMPTY:
            (made.folder / "kept" / each).mkdir(parents=True)
        (made.folder / "kept/tmp").chmod(0o1777)
        made.folder.chmod(0o755)
        done = made.run("true")
        if done.returncode:
            pytest.skip(f"NOT INSTALLED INTO A CLEAN SYSTEM: {done.stderr.decode().strip()[-200:]}")
        yield made
