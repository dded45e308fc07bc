"""Programs and kernels that the lab takes from Debian packages, unpacked into the cache (debian.py)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pagethrift.errors import LabError
from pagethrift.lab.guest.cache import cache_dir, cached, kept_facts
from pagethrift.lab.guest.debian import apt_options, codename, download, release_of, run, unpack

QemuSeries = Literal["7.2", "10.0", "11.1"]

_QEMU_PACKAGES = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "ipxe-qemu")
_QEMU_SUITES: Mapping[tuple[str, str], str] = {
    ("bookworm", "7.2"): "bookworm",
    ("bookworm", "10.0"): "bookworm-backports",
    ("bookworm", "11.1"): "trixie-backports",
    ("trixie", "10.0"): "trixie",
    ("trixie", "11.1"): "trixie-backports",
}
_KERNEL_PACKAGE = "linux-image-cloud-amd64"
_NFS_PACKAGES = ("nfs-ganesha", "nfs-ganesha-vfs", "rpcbind")
_DRIVERS_PACKAGE = "qemu-block-extra"


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """One QEMU for x86-64: ``[*command, ...]`` with ``env`` added starts it."""

    path: Path
    version: str
    """as QEMU reports it, such as 10.0.2"""
    args_prefix: tuple[str, ...] = ()
    """the -L options for its firmware folders"""
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    loader: Path | None = None
    """the dynamic loader of its own C library; None: the system's C library will do"""
    libraries: str = ""
    """the folders of its libraries, joined by colons, for ``loader``; so no program that this QEMU or we
    start gets them, as it would from the environment"""

    @property
    def series(self) -> str:
        """Major and minor number, such as 10.0."""
        return ".".join(self.version.split(".")[:2])

    @property
    def command(self) -> tuple[str, ...]:
        """How a command line begins: the program, and the options it needs to find its files."""
        by_loader: tuple[str, ...] = ()
        if self.loader is not None:
            by_loader = (str(self.loader), "--library-path", self.libraries, "--argv0", self.path.name)
        return (*by_loader, str(self.path), *self.args_prefix)


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


def qemu(series: QemuSeries, *, fetch: bool = True) -> QemuBinary:
    """Return QEMU of a series: the system's if it matches, else one unpacked into the cache.

    The first call for a series that the system lacks downloads about 15 MB; one of a newer Debian comes
    with all its libraries: 35 MB and 10 MB of package lists, 230 MB on disk. Later calls are instant.
    With ``fetch`` False nothing is downloaded.
    Raises LabError when this Debian release offers no such QEMU.
    """
    system = shutil.which("qemu-system-x86_64")
    if system is not None:
        found = QemuBinary(Path(system), "")
        version = _version(found)
        if version.startswith(f"{series}."):
            return replace(found, version=version)
    root = cached(f"qemu-{series}", lambda folder: _unpack_qemu(series, folder), fetch=fetch)
    return replace(_qemu_in(root), version=str(kept_facts(root)["version"]))


def kernel(*, fetch: bool = True) -> GuestKernel:
    """Return Debian's cloud kernel, unpacked into the cache; the first call downloads about 27 MB.

    With ``fetch`` False nothing is downloaded.
    Raises LabError when the package cannot be found or fetched.
    """
    root = cached("kernel", _unpack_kernel, fetch=fetch)
    release = str(kept_facts(root)["release"])
    modules = next(path for path in (root / "usr/lib/modules", root / "lib/modules") if path.is_dir())
    return GuestKernel(root / "boot" / f"vmlinuz-{release}", modules / release, release)


def nfs_programs(*, fetch: bool = True) -> NfsPrograms:
    """Return NFS-Ganesha and rpcbind, unpacked into the cache; the first call downloads about 2 MB.

    They are not installed, because their packages would start services on all of this machine's addresses.
    Raises LabError when they cannot be found or fetched.
    """
    root = cached("nfs", _unpack_nfs, fetch=fetch)
    (plugins,) = root.glob("usr/lib/*/ganesha")
    libraries = f"{_library_folders(root)}:{root / 'usr/lib/ganesha'}"
    # Debian 12 unpacks into /sbin what later releases have in /usr/sbin.
    rpcbind = next(path for path in (root / "sbin/rpcbind", root / "usr/sbin/rpcbind") if path.exists())
    return NfsPrograms(rpcbind, root / "usr/bin/ganesha.nfsd", plugins, {"LD_LIBRARY_PATH": libraries})


def prometheus(*, fetch: bool = True) -> Path:
    """Return the program Prometheus, unpacked into the cache; the first call downloads about 19 MB.

    With ``fetch`` False nothing is downloaded.
    Raises LabError when the package cannot be found or fetched.
    """
    return cached("prometheus", _unpack_prometheus, fetch=fetch) / "usr/bin/prometheus"


def with_nfs_driver(binary: QemuBinary, *, fetch: bool = True) -> QemuBinary:
    """Return a QEMU together with its block driver for NFS, unpacked into the cache (about 0.2 MB).

    Raises LabError when the driver of exactly that build cannot be found or fetched.
    """
    version = _package_version(binary)
    suite = _QEMU_SUITES.get((codename(), binary.series), "")
    name = f"nfs-driver-{version.replace(':', '_')}"
    root = cached(name, lambda folder: _unpack_driver(version, release_of(suite), folder), fetch=fetch)
    env = {**binary.env, **_modules_env(root)}
    own = _library_folders(root)
    if binary.loader is not None:
        return replace(binary, env=env, libraries=f"{own}:{binary.libraries}")
    libraries = filter(None, (own, binary.env.get("LD_LIBRARY_PATH")))
    return replace(binary, env={**env, "LD_LIBRARY_PATH": ":".join(libraries)})


def shared_libraries(
    program: Path, env: Mapping[str, str] | None = None, *, lister: Sequence[str] = ("ldd",)
) -> tuple[Path, ...]:
    """Return the libraries that the dynamic loader finds for ``program``, the loader included.

    ``lister`` is the program that asks the loader. Raises LabError, which names the missing libraries.
    """
    text = run([*lister, str(program)], env=env, what=f"listing libraries of {program}")
    missing = re.findall(r"^\s*(\S+) => not found", text, re.MULTILINE)
    if missing:
        names = ", ".join(missing)
        raise LabError(f"{program} lacks {names}; install them, or delete {cache_dir()} and retry")
    return tuple(Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", text, re.MULTILINE))


def _unpack_qemu(series: str, folder: Path) -> dict[str, object]:
    suite = _QEMU_SUITES.get((codename(), series))
    if suite is None:
        release = codename() or "(unknown)"
        raise LabError(f"Debian {release} offers no QEMU {series}; install it as qemu-system-x86_64")
    packages = unpack(_QEMU_PACKAGES, suite, folder)
    found = _qemu_in(folder)
    if found.loader is None:
        shared_libraries(found.path, found.env)
    else:
        by_loader = (str(found.loader), "--library-path", found.libraries, "--list")
        shared_libraries(found.path, found.env, lister=by_loader)
    version = _version(found)
    if not version.startswith(f"{series}."):
        raise LabError(f"suite {suite} has QEMU {version}, not {series}; install it as qemu-system-x86_64")
    return {"version": version, "packages": packages}


def _unpack_nfs(folder: Path) -> dict[str, object]:
    return {"packages": unpack(_NFS_PACKAGES, codename(), folder)}


def _unpack_prometheus(folder: Path) -> dict[str, object]:
    """One file, linked statically: what else the package asks for is its web pages'."""
    download(["prometheus"], folder, apt_options())
    said = run([str(folder / "usr/bin/prometheus"), "--version"], what="asking Prometheus for its version")
    return {"version": said.split("version ")[-1].split()[0]}


def _package_version(binary: QemuBinary) -> str:
    facts = kept_facts(binary.path.parents[2])
    if facts:
        return str(facts["packages"]["qemu-system-x86"])
    asked = ["dpkg-query", "-W", "-f", "${Version}", "qemu-system-x86"]
    return run(asked, what=f"asking for the package of {binary.path}")


def _unpack_driver(version: str, release: str, folder: Path) -> dict[str, object]:
    options = apt_options(release)
    shown = run(
        ["apt-cache", *options, "show", f"{_DRIVERS_PACKAGE}={version}"], what=f"resolving {_DRIVERS_PACKAGE}"
    )
    library = re.search(r"^Depends:.*?\b(libnfs\d+(?:t64)?)\b", shown, re.MULTILINE)
    if library is None:
        raise LabError(f"{_DRIVERS_PACKAGE} {version} has no driver for NFS; use another series of QEMU")
    # Only its own libraries: other drivers' are not needed (Ceph's are large).
    download([f"{_DRIVERS_PACKAGE}={version}", library[1]], folder, options)
    return {"version": version, "library": library[1]}


def _unpack_kernel(folder: Path) -> dict[str, object]:
    options = apt_options()
    answer = run(["apt-cache", *options, "depends", _KERNEL_PACKAGE], what=f"resolving {_KERNEL_PACKAGE}")
    match = re.search(r"Depends: linux-image-(\S+)", answer)
    if match is None:
        raise LabError(f"apt names no kernel behind {_KERNEL_PACKAGE}; check this machine's apt sources")
    download([f"linux-image-{match[1]}"], folder, options)
    return {"release": match[1]}


def _qemu_in(root: Path) -> QemuBinary:
    """Return the QEMU unpacked in a folder, its version left out."""
    binary = QemuBinary(root / "usr/bin/qemu-system-x86_64", "", _firmware_args(root), _modules_env(root))
    folders = _library_folders(root)
    # Unpacked only together with a C library that is not the system's.
    loader = next(root.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"), None)
    if loader is not None:
        return replace(binary, loader=loader, libraries=folders)
    return replace(binary, env={**binary.env, "LD_LIBRARY_PATH": folders} if folders else binary.env)


def _version(binary: QemuBinary) -> str:
    text = run([*binary.command, "--version"], env=binary.env, what=f"asking {binary.path} for its version")
    match = re.search(r"version (\d+\.\d+\.\d+)", text)
    if match is None:
        raise LabError(f"{binary.path} --version says {text[:60]!r}; reinstall QEMU")
    return match[1]


def _firmware_args(root: Path) -> tuple[str, ...]:
    folders = [root / "usr/share/qemu", root / "usr/share/seabios", root / "usr/lib/ipxe/qemu"]
    return tuple(word for folder in folders if folder.is_dir() for word in ("-L", str(folder)))


def _library_folders(root: Path) -> str:
    folders = [path for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu") for path in root.glob(pattern)]
    return ":".join(str(folder) for folder in folders if any(folder.glob("*.so.*")))


def _modules_env(root: Path) -> dict[str, str]:
    modules = next((path for path in root.glob("usr/lib/*-linux-gnu/qemu") if path.is_dir()), None)
    return {"QEMU_MODULE_DIR": str(modules)} if modules else {}
