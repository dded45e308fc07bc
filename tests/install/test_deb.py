"""The Debian package: made without root, the same each time; it works, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scripts import deb
from scripts.command_pages import pages

from pagethrift import __version__
from pagethrift.kernels import machine_code
from pagethrift.stream.image import image
from tests.install.clean_debian import CleanDebian, clean_debian
from tests.install.conftest import INSTALL_S, ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="THE PACKAGE IS FOR x86_64 ONLY"),
    pytest.mark.timeout(600),
]
SYSTEM_OWN = re.compile(
    r"etc/((g?shadow|group|passwd|subuid|subgid)-?|\.pwd\.lock|ld\.so\.cache)"
    r"|var/(lib/dpkg|cache/man|cache/ldconfig|log)(/.*)?|run/lock(/.*)?"
)
"""what dpkg, man-db and the user database keep for themselves"""
UNPACKED = "import sys; from scripts import deb; deb.COMPRESSION = ('-Znone',); deb.main(sys.argv[1:])"
WITHOUT_NUMBA = """
import sys
from pagethrift.cli.main import main
sys.argv = ["pagethrift", "thin"]
try:
    main()
finally:
    print("numba" in sys.modules, file=sys.stderr)
"""


def make(folder: Path, *command: str, **more: str) -> Path:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "SOURCE_DATE_EPOCH": "1790000000"}
    subprocess.run(
        [sys.executable, *command, "--out", folder], cwd=ROOT, env=environment | more, check=True,
        stdout=sys.stderr, timeout=INSTALL_S,
    )  # fmt: skip
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("deb"), "-m", "scripts.deb")


@pytest.fixture(scope="module")
def debian(package: Path) -> Iterator[CleanDebian]:
    """A Debian with the package, installed by dpkg."""
    with clean_debian() as made:
        made.ok("dpkg", "--install", made.place(package))
        yield made


def test_its_name_and_what_it_depends_on(package: Path) -> None:
    assert package.name == f"pagethrift_{__version__}_amd64.deb"
    fields = subprocess.run(
        ["dpkg-deb", "--field", package], capture_output=True, text=True, check=True
    ).stdout
    major, minor = sys.version_info[:2]
    assert f"Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), libc6 (>= 2." in fields
    assert package.stat().st_size < 200e6


def test_it_is_the_same_again_elsewhere_with_other_settings(package: Path, tmp_path: Path) -> None:
    more = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "TMPDIR": str(tmp_path)}
    (tmp_path / "out").mkdir()
    before = os.umask(0o077)
    try:
        other = make(tmp_path / "out", "-c", UNPACKED, **more)
    finally:
        os.umask(before)
    for part in ("--ctrl-tarfile", "--fsys-tarfile"):
        assert digest(package, part) == digest(other, part), part


def digest(path: Path, part: str) -> str:
    with subprocess.Popen(["dpkg-deb", part, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        return hashlib.file_digest(process.stdout, "sha256").hexdigest()  # type: ignore[arg-type]


def test_the_command_works_and_every_file_is_as_it_was_packed(debian: CleanDebian) -> None:
    assert debian.ok("pagethrift", "--version") == f"pagethrift {__version__}\n"
    assert "Usage: pagethrift relay" in debian.ok("pagethrift", "relay", "--help")
    assert "Usage: pagethrift migrate" in debian.ok("pagethrift", "migrate", "--help")
    assert debian.ok("dpkg", "--verify", "pagethrift") == ""


def test_an_ordinary_user_thins_with_the_packages_kernels(debian: CleanDebian) -> None:
    stream = lzma.decompress((ROOT / "tests/golden/qemu-10.0-q35.xz").read_bytes())
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent"]
    done = debian.run(*user, "/usr/lib/pagethrift/bin/python3", "-sPc", WITHOUT_NUMBA, input=stream)
    assert done.returncode == 0, done.stderr.decode()
    assert np.array_equal(image(done.stdout).memory, image(stream).memory)
    if machine_code.is_portable(Path("/proc/cpuinfo").read_text(), os.uname().machine):
        assert done.stderr.split()[-1:] == [b"False"]


def test_every_command_has_its_manual_page(debian: CleanDebian) -> None:
    for page in pages():
        assert debian.ok("man", "-w", page.slug) == f"/usr/share/man/man1/{page.slug}.1.gz\n"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="NOT CHECKED: no systemd here")
def test_systemd_takes_the_units_and_knows_the_user(debian: CleanDebian) -> None:
    for unit in (ROOT / "contrib/systemd").iterdir():
        path = f"/usr/lib/systemd/system/{unit.name}"
        done = debian.run("systemd-analyze", "verify", "--recursive-errors=no", path)
        assert (done.returncode, done.stderr.decode()) == (0, "")
    assert debian.ok("getent", "passwd", "pagethrift").startswith("pagethrift:")
    assert debian.ok("getent", "group", "pagethrift").startswith("pagethrift:")
    assert debian.ok("stat", "-c", "%U %a", "/run/pagethrift") == "root 755\n"


def test_bash_completes(debian: CleanDebian) -> None:
    script = """
    source /usr/share/bash-completion/completions/pagethrift
    COMP_WORDS=(pagethrift relay --list); COMP_CWORD=2
    $(complete -p pagethrift | sed 's/.*-F \\([^ ]*\\).*/\\1/') pagethrift --list relay
    echo "${COMPREPLY[@]}"
    """
    assert debian.ok("bash", "-c", script) == "--listen\n"


def test_licences_of_all_that_comes_with_it_are_named(debian: CleanDebian) -> None:
    said = debian.ok("cat", "/usr/share/doc/pagethrift/copyright")
    folders = debian.ok(
        "sh", "-c", "ls -d /usr/lib/pagethrift/lib/python3*/site-packages/*.dist-info"
    ).split()
    names = {Path(folder).name.split("-")[0] for folder in folders} - {"pagethrift"}
    assert {each.name.replace("-", "_").replace(".", "_").lower() for each in deb.packages()} == {
        name.replace(".", "_").lower() for name in names
    }
    for each in deb.packages():
        assert re.search(rf"^{re.escape(each.name)} {re.escape(each.version)}: \S", said, re.MULTILINE)
    assert "AppArmor" in debian.ok("cat", "/usr/share/doc/pagethrift/README.Debian")


def test_removal_leaves_nothing(package: Path) -> None:
    with clean_debian() as debian:
        path, trace = debian.place(package), debian.place(ROOT / "traces/idle.parquet")
        before = debian.changed()
        debian.ok("dpkg", "--install", path)
        debian.ok("pagethrift", "simulate", trace, "--bandwidth", "1Gbit", "--out", "/tmp/result.json")
        assert (debian.folder / "upper/usr/lib/pagethrift").is_dir()
        debian.ok("dpkg", "--remove", "pagethrift")
        left = {each for each in debian.changed() - before if not SYSTEM_OWN.fullmatch(each)}
        assert sorted(left) == []
