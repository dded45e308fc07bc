"""``python -m scripts.deb`` (``make deb``): a Debian package, without root, the same bytes each time.

/usr/lib/pagethrift is a virtual environment for Debian's own Python: pagethrift's wheel with compiled
kernels, and the packages that it needs. These are copied from the environment that runs this, so they are
what the lock installed and the tests ran with; each file is held against the sum that its wheel named.
Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import base64
import compileall
import gzip
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.utils import canonicalize_name
from scripts import licences, manual

from pagethrift import __version__
from pagethrift.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
CONTRIB = ROOT / "contrib"
NAME = "pagethrift"
HOME = f"usr/lib/{NAME}"
OPERATORS = ("metrics",)
"""extras for hosts, if pyproject.toml has them; the others are for workplaces, and libvirt is Debian's"""
LEFT_OUT = ("numba/tests/", "llvmlite/tests/", "pyarrow/tests/", "pyarrow/include/")
"""never loaded, and 26 MB"""
SCRIPTS = ("postinst", "prerm", "postrm")
PLACES = {
    "systemd": "usr/lib/systemd/system",
    "sysusers.d": "usr/lib/sysusers.d",
    "tmpfiles.d": "usr/lib/tmpfiles.d",
    "grafana": f"usr/share/{NAME}/grafana",
    "exchange": f"usr/share/{NAME}",
}
"""folder of contrib/, if there is one -> where its files go"""
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions",
    "zsh": "usr/share/zsh/vendor-completions",
    "fish": "usr/share/fish/vendor_completions.d",
}
COMPRESSION = ("-Zxz", "-z1", "--threads-max=1")
"""-z6 makes 93 % of it in eight times the time; several threads would cut it into other blocks"""
MAINTAINER = "The pagethrift developers"


def packages() -> list[Distribution]:
    """Return what hosts need besides pagethrift, as it is installed here.

    Raises UsageError when it is not what the lock says.
    """
    asked = licences.project()
    wanted = asked[""] + [each for extra in OPERATORS for each in asked.get(extra, [])]
    locked = {canonicalize_name(each.name): each for each in licences.locked(licences.LOCK.read_text())}
    found = [distribution(name) for name in sorted(licences.needed(wanted))]
    for each in found:
        if not locked[canonicalize_name(each.name)].specifier.contains(each.version):
            raise UsageError(f"{each.name} {each.version} is not what requirements.lock has; run make setup")
    return found


def copy(package: Distribution, site: Path) -> None:
    """Copy a package's files. Raises UsageError when one is not what its wheel brought."""
    for file in package.files or []:
        name = str(file)
        if name.startswith(("../", *LEFT_OUT)) or "__pycache__" in file.parts:
            continue
        content = Path(str(file.locate())).read_bytes()
        if file.hash and _sum(content, file.hash.mode) != file.hash.value:
            raise UsageError(f"{file.locate()}: changed since it was installed; run make clean setup")
        if file.name in {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}:
            continue  # of pip, which does not manage this environment
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _sum(content: bytes, mode: str) -> str:
    digest = hashlib.new(mode, content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def environment(root: Path, wheel: Path, needed: list[Distribution]) -> None:
    """Lay out the virtual environment. ``venv`` would write this machine's Python into it."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = root / HOME
    site = home / "lib" / python / "site-packages"
    site.mkdir(parents=True)
    # Debian's own python3-libvirt is seen too; what is here comes first.
    (home / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {python.removeprefix('python')}\n"
    )
    (home / "bin").mkdir()
    for name in ("python3", python):
        (home / "bin" / name).symlink_to(f"/usr/bin/{name}")
    for package in needed:
        copy(package, site)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Users can write no bytecode there. Unchecked: no file of the package changes but with the package.
    if not compileall.compile_dir(
        site,
        quiet=2,
        stripdir=str(root),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    ):
        print(
            "deb: some packages have files that are not for this Python; they are left as they are",
            file=sys.stderr,
        )
    command = root / "usr/bin" / NAME
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/{HOME}/bin/python3 -sP\nfrom pagethrift.cli.main import main\n\nmain()\n")
    command.chmod(0o755)


def system_files(root: Path) -> None:
    """Put units, user, folder, manual pages and completion where systemd, man and the shells look."""
    for folder, place in PLACES.items():
        if not (CONTRIB / folder).is_dir():
            continue
        (root / place).mkdir(parents=True, exist_ok=True)
        for path in sorted((CONTRIB / folder).iterdir()):
            shutil.copyfile(path, root / place / path.name)
    (root / "etc" / NAME).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        manual.write(Path(name))
        pages = root / "usr/share/man" / f"man{manual.SECTION}"
        pages.mkdir(parents=True)
        for path in sorted(Path(name, "man").iterdir()):
            zipped(path.read_bytes(), pages / f"{path.name}.gz")
        for shell, place in COMPLETIONS.items():
            (root / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(name, "completions", shell, manual.COMPLETIONS[shell]), root / place)


def zipped(content: bytes, path: Path) -> None:
    """Write a file as gzip does with -9n."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def documents(root: Path, needed: list[Distribution]) -> None:
    """Write what Debian wants to know: changes, licences, and what is special here."""
    folder = root / "usr/share/doc" / NAME
    folder.mkdir(parents=True)
    zipped((ROOT / "CHANGELOG.md").read_bytes(), folder / "changelog.gz")
    shutil.copyfile(CONTRIB / "debian/README.Debian", folder / "README.Debian")
    (folder / "copyright").write_text(copyright_file(needed))


def copyright_file(needed: list[Distribution]) -> str:
    """Return the licences of pagethrift and of each package that comes with it."""
    lines = [
        "pagethrift: Copyright The pagethrift developers. Licensed under the Apache License, Version 2.0;",
        "its text is in /usr/share/common-licenses/Apache-2.0.",
        "",
        f"The package also has these, unchanged, in /{HOME}. The licence is what each names in its",
        f"metadata; its own files are in /{HOME}/lib/python*/site-packages/NAME-VERSION.dist-info.",
        "",
        *(f"{each.name} {each.version}: {licences.licence(each)}" for each in needed),
        "",
    ]
    return "\n".join(lines)


def glibc(root: Path) -> str:
    """Return the newest version of the C library that any of the package's machine code asks for."""
    libraries = (path for path in root.rglob("*") if ".so" in path.name and path.is_file())
    named = (re.findall(rb"GLIBC_(\d+)\.(\d+)", path.read_bytes()) for path in libraries)
    major, minor = max((int(major), int(minor)) for found in named for major, minor in found)
    return f"{major}.{minor}"


def control(root: Path) -> str:
    """Return the package's description for dpkg."""
    major, minor = sys.version_info[:2]
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    depends = [
        f"python3 (>= {major}.{minor})", f"python3 (<< {major}.{minor + 1})",
        f"libc6 (>= {glibc(root)})", "libgcc-s1", "libstdc++6", "zlib1g",
    ]  # fmt: skip
    return "\n".join(
        [
            f"Package: {NAME}",
            f"Version: {version()}",
            "Architecture: amd64",
            f"Maintainer: {MAINTAINER}",
            f"Installed-Size: {(size + 1023) // 1024}",
            f"Depends: {', '.join(depends)}",
            "Recommends: systemd",
            "Suggests: qemu-system-x86, python3-libvirt",
            "Section: admin",
            "Priority: optional",
            "Description: relay that makes live migrations of QEMU send less",
            " pagethrift sits beside an unmodified QEMU on the source host, reads its migration",
            " stream, and sends no byte that the destination already holds. Nothing is installed",
            " at the destination.",
            "",
        ]
    )


def version() -> str:
    """Return the version as Debian writes it: 1.0rc1 comes before 1.0."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", __version__)


def finish(root: Path, epoch: int) -> None:
    """Give every file its sum, the right mode and the time of the sources."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    files = [path for path in files if "DEBIAN" not in path.parts]
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files)
    (root / "DEBIAN/md5sums").write_text("".join(sums))
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            runs = (
                path.is_dir()
                or path.parent.name == "bin"
                or (path.parent.name == "DEBIAN" and path.name in SCRIPTS)
            )
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def built(folder: Path, *kind: str, kernels: bool) -> Path:
    """Build a wheel of this tree into ``folder`` with what is installed here; return its path."""
    more = {"PAGETHRIFT_KERNELS": "1"} if kernels else {}
    subprocess.run(
        [sys.executable, "-m", "build", *kind, "--no-isolation", "--outdir", folder, ROOT],
        env=os.environ | more, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def source_epoch() -> int:
    """Return SOURCE_DATE_EPOCH, or when the last commit was made. Raises UsageError when neither is known."""
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(said)
    done = subprocess.run(
        ["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UsageError(
            "SOURCE_DATE_EPOCH: not set, and this is no git repository; set it to a time in seconds"
        )
    return int(done.stdout)


def make(out: Path) -> Path:
    """Make the package in the folder ``out``; return its path."""
    if os.uname().machine != "x86_64":
        raise UsageError("the wheel's kernels are for x86_64 only; make the package there")
    if shutil.which("dpkg-deb") is None:
        raise UsageError("no dpkg-deb here; install the package dpkg")
    epoch = source_epoch()
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    needed = packages()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{NAME}_{version()}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="pagethrift-deb-") as name:
        root = Path(name, "root")
        (root / "DEBIAN").mkdir(parents=True)
        environment(root, built(Path(name, "wheel"), "--wheel", kernels=True), needed)
        system_files(root)
        documents(root, needed)
        (root / "DEBIAN/control").write_text(control(root))
        for script in SCRIPTS:
            shutil.copyfile(CONTRIB / "debian" / script, root / "DEBIAN" / script)
        finish(root, epoch)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", *COMPRESSION, "--build", root, path],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return path


def main(arguments: list[str] | None = None) -> None:
    """Make the package, and say where it is and how large."""
    parser = argparse.ArgumentParser(prog="python -m scripts.deb", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build"), metavar="DIR")
    path = make(parser.parse_args(arguments).out)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
