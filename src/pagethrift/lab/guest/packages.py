"""Programs and kernels that the lab takes from Debian packages, unpacked beside the system.

The packages come from the archive that the machine already uses: its own apt entry is copied into a
private apt configuration with the backports suite added. The system's apt is never touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pagethrift.errors import LabError
from pagethrift.lab.guest.aptsources import derive_sources, read_sources

QemuSeries = Literal["7.2", "10.0"]

_QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "ipxe-qemu")
_QEMU_SUITES: Mapping[tuple[str, str], str] = {
    ("bookworm", "7.2"): "bookworm",
    ("bookworm", "10.0"): "bookworm-backports",
    ("trixie", "10.0"): "trixie",
}
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_NFS_PACKAGES = ("nfs-ganesha", "nfs-ganesha-vfs", "rpcbind")
_DRIVERS_PACKAGE = "qemu-block-extra"
_LISTS_FRESH_S = 3600.0
_MARKER = "complete.json"


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """One QEMU for x86-64: ``[path, *args_prefix, ...]`` with ``env`` added starts it."""

    path: Path
    version: str
    """as QEMU reports it, such as 10.0.2"""
    args_prefix: tuple[str, ...] = ()
    """the -L options for its firmware folders"""
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def series(self) -> str:
        """Major and minor number, such as 10.0."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """An unpacked Linux kernel for guests."""

    image: Path
    """bzImage"""
    modules: Path
    """the folder lib/modules/RELEASE"""
    release: str


@dataclass(frozen=True, slots=True)
class NfsPrograms:
    """A user-space NFS server, started with ``env`` added."""

    rpcbind: Path
    ganesha: Path
    plugins: Path
    """the folder of its plugins (file system layers)"""
    env: Mapping[str, str] = field(hash=False)


def cache_dir() -> Path:
    """Return the lab's cache folder, $PAGETHRIFT_CACHE or ~/.cache/pagethrift, created if missing.

    Raises LabError when it cannot be made or written.
    """
    folder = Path(os.environ.get("PAGETHRIFT_CACHE") or os.path.expanduser("~/.cache/pagethrift"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make the cache {folder}: {error.strerror}; set PAGETHRIFT_CACHE") from error
    if not os.access(folder, os.W_OK):
        raise LabError(f"the cache {folder} is not this user's; set PAGETHRIFT_CACHE to another folder")
    return folder.resolve()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the cache by its name; other processes and threads wait."""
    with (cache_dir() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def qemu(series: QemuSeries, *, fetch: bool = True) -> QemuBinary:
    """Return QEMU of a series: the system's if it matches, else one unpacked into the cache.

    The first call for a series that the system lacks downloads about 15 MB; later calls are instant.
    With ``fetch`` False nothing is downloaded.
    Raises LabError when this Debian release offers no such QEMU.
    """
    system = shutil.which("qemu-system-x86_64")
    if system is not None:
        version = _qemu_version(Path(system), {})
        if version.startswith(f"{series}."):
            return QemuBinary(Path(system), version)
    root = _cached(f"qemu-{series}", lambda folder: _unpack_qemu(series, folder), fetch=fetch)
    binary = _qemu_in(root)
    return QemuBinary(
        binary, json.loads((root / _MARKER).read_text())["version"], _firmware_args(root), _library_env(root)
    )


def kernel(*, fetch: bool = True) -> GuestKernel:
    """Return Debian's cloud kernel, unpacked into the cache; the first call downloads about 27 MB.

    With ``fetch`` False nothing is downloaded.
    Raises LabError when the package cannot be found or fetched.
    """
    root = _cached("kernel", _unpack_kernel, fetch=fetch)
    release = json.loads((root / _MARKER).read_text())["release"]
    modules = next(path for path in (root / "usr/lib/modules", root / "lib/modules") if path.is_dir())
    return GuestKernel(root / "boot" / f"vmlinuz-{release}", modules / release, release)


def nfs_programs(*, fetch: bool = True) -> NfsPrograms:
    """Return NFS-Ganesha and rpcbind, unpacked into the cache; the first call downloads about 2 MB.

    They are not installed, because their packages would start services on all of this machine's addresses.
    Raises LabError when they cannot be found or fetched.
    """
    root = _cached("nfs", _unpack_nfs, fetch=fetch)
    (plugins,) = root.glob("usr/lib/*/ganesha")
    libraries = f"{_library_env(root)['LD_LIBRARY_PATH']}:{root / 'usr/lib/ganesha'}"
    # Debian 12 unpacks into /sbin what later releases have in /usr/sbin.
    rpcbind = next(path for path in (root / "sbin/rpcbind", root / "usr/sbin/rpcbind") if path.exists())
    return NfsPrograms(rpcbind, root / "usr/bin/ganesha.nfsd", plugins, {"LD_LIBRARY_PATH": libraries})


def with_nfs_driver(binary: QemuBinary, *, fetch: bool = True) -> QemuBinary:
    """Return a QEMU together with its block driver for NFS, unpacked into the cache (about 0.2 MB).

    Raises LabError when the driver of exactly that build cannot be found or fetched.
    """
    version = _package_version(binary)
    name = f"nfs-driver-{version.replace(':', '_')}"
    root = _cached(name, lambda folder: _unpack_driver(version, folder), fetch=fetch)
    own = _library_env(root)
    libraries = [env["LD_LIBRARY_PATH"] for env in (own, binary.env) if "LD_LIBRARY_PATH" in env]
    env = {**binary.env, "LD_LIBRARY_PATH": ":".join(libraries), "QEMU_MODULE_DIR": own["QEMU_MODULE_DIR"]}
    return replace(binary, env=env)


def shared_libraries(program: Path, env: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Return the libraries that the dynamic loader finds for ``program``, the loader included.

    Raises LabError, which names the missing libraries.
    """
    text = _run(["ldd", str(program)], env=env, what=f"listing libraries of {program}")
    missing = re.findall(r"^\s*(\S+) => not found", text, re.MULTILINE)
    if missing:
        names = ", ".join(missing)
        raise LabError(f"{program} lacks {names}; install them, or delete {cache_dir()} and retry")
    return tuple(Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", text, re.MULTILINE))


def _cached(name: str, fill: Callable[[Path], dict[str, object]], *, fetch: bool = True) -> Path:
    target = cache_dir() / name
    if (target / _MARKER).exists():
        return target
    if not fetch:
        raise LabError(f"{name} is not in {cache_dir()} yet; the first lab run fetches it")
    with locked(name):
        if (target / _MARKER).exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        facts = fill(target)
        # The marker is written last and whole: the next run redoes the folder of a killed run.
        draft = target / f"{_MARKER}.new"
        draft.write_text(json.dumps(facts, indent=1))
        draft.rename(target / _MARKER)
    return target


def _unpack_qemu(series: str, folder: Path) -> dict[str, object]:
    codename = _codename()
    suite = _QEMU_SUITES.get((codename, series))
    if suite is None:
        release = codename or "(unknown)"
        raise LabError(f"Debian {release} offers no QEMU {series}; install it as qemu-system-x86_64")
    packages = _unpack(_QEMU_PACKAGES, suite, folder)
    shared_libraries(_qemu_in(folder), _library_env(folder))
    version = _qemu_version(_qemu_in(folder), _library_env(folder))
    if not version.startswith(f"{series}."):
        raise LabError(f"suite {suite} has QEMU {version}, not {series}; install it as qemu-system-x86_64")
    return {"version": version, "packages": packages}


def _unpack_nfs(folder: Path) -> dict[str, object]:
    return {"packages": _unpack(_NFS_PACKAGES, _codename(), folder)}


def _package_version(binary: QemuBinary) -> str:
    marker = binary.path.parents[2] / _MARKER
    if marker.exists():
        return str(json.loads(marker.read_text())["packages"]["qemu-system-x86"])
    asked = ["dpkg-query", "-W", "-f", "${Version}", "qemu-system-x86"]
    return _run(asked, what=f"asking for the package of {binary.path}")


def _unpack_driver(version: str, folder: Path) -> dict[str, object]:
    options = _apt_options()
    shown = _run(
        ["apt-cache", *options, "show", f"{_DRIVERS_PACKAGE}={version}"], what=f"resolving {_DRIVERS_PACKAGE}"
    )
    library = re.search(r"^Depends:.*?\b(libnfs\d+(?:t64)?)\b", shown, re.MULTILINE)
    if library is None:
        raise LabError(f"{_DRIVERS_PACKAGE} {version} has no driver for NFS; use another series of QEMU")
    # Only its own libraries: other drivers' are not needed (Ceph's are large).
    _download([f"{_DRIVERS_PACKAGE}={version}", library[1]], folder, options)
    return {"version": version, "library": library[1]}


def _unpack_kernel(folder: Path) -> dict[str, object]:
    options = _apt_options()
    answer = _run(["apt-cache", *options, "depends", _KERNEL_PACKAGE], what=f"resolving {_KERNEL_PACKAGE}")
    match = re.search(r"Depends: linux-image-(\S+)", answer)
    if match is None:
        raise LabError(f"apt names no kernel behind {_KERNEL_PACKAGE}; check this machine's apt sources")
    _download([f"linux-image-{match[1]}"], folder, options)
    return {"release": match[1]}


def _unpack(names: Sequence[str], suite: str, folder: Path) -> dict[str, str]:
    """Unpack packages of a suite and every library that the system lacks; return the versions."""
    options = _apt_options()
    # --reinstall lists the named packages even where the system has the very same version, and the
    # simulation adds every library the system lacks.
    plan = _run(
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
    packages.pop("libc6", None)
    _download([f"{name}={version}" for name, version in packages.items()], folder, options)
    return packages


def _download(packages: Sequence[str], folder: Path, options: Sequence[str]) -> None:
    archives = folder / "archives"
    archives.mkdir()
    _run(["apt-get", *options, "download", *packages], cwd=archives, what=f"downloading {packages[0]}")
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(archive), str(folder)], what=f"unpacking {archive.name}")
    shutil.rmtree(archives)


def _apt_options() -> list[str]:
    """Write the private apt configuration, refresh its lists if old, return the options that use it."""
    folder = cache_dir() / "apt"
    with locked("apt"):
        for sub in ("lists/partial", "cache/archives/partial"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        sources = folder / "archive.sources"
        sources.write_text(derive_sources(read_sources(), _codename()))
        options = [
            f"-oDir::Etc::SourceList={sources}",
            "-oDir::Etc::SourceParts=-",
            f"-oDir::State::Lists={folder / 'lists'}",
            f"-oDir::Cache={folder / 'cache'}",
            "-oAcquire::Languages=none",
            "-oAPT::Sandbox::User=root",
            "-oAPT::Get::List-Cleanup=0",
        ]
        stamp = folder / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > _LISTS_FRESH_S:
            _run(["apt-get", *options, "update"], what="updating the private package lists")
            stamp.touch()
    return options


def _codename() -> str:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?(\w+)', text, re.MULTILINE)
    return match[1] if match else ""


def _qemu_in(root: Path) -> Path:
    return root / "usr/bin/qemu-system-x86_64"


def _qemu_version(binary: Path, env: Mapping[str, str]) -> str:
    text = _run([str(binary), "--version"], env=env, what=f"asking {binary} for its version")
    match = re.search(r"version (\d+\.\d+\.\d+)", text)
    if match is None:
        raise LabError(f"{binary} --version says {text[:60]!r}; reinstall QEMU")
    return match[1]


def _firmware_args(root: Path) -> tuple[str, ...]:
    folders = [root / "usr/share/qemu", root / "usr/share/seabios", root / "usr/lib/ipxe/qemu"]
    return tuple(word for folder in folders if folder.is_dir() for word in ("-L", str(folder)))


def _library_env(root: Path) -> dict[str, str]:
    folders = [path for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu") for path in root.glob(pattern)]
    env = {"LD_LIBRARY_PATH": ":".join(str(f) for f in folders if any(f.glob("*.so.*")))}
    modules = next((str(f / "qemu") for f in folders if (f / "qemu").is_dir()), "")
    return {key: value for key, value in (env | {"QEMU_MODULE_DIR": modules}).items() if value}


def _run(
    command: Sequence[str], *, what: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
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
