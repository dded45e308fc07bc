"""Unpacked packages: with a stand-in for apt, and with what this machine has."""

from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import packages


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_fetched_when_not_allowed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "apt_options", lambda *_: pytest.fail("went to apt"))
    with pytest.raises(LabError, match="not in"):
        packages.kernel(fetch=False)


def test_qemu_of_an_unknown_release_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagethrift.lab.guest.packages.shutil.which", lambda name: None)
    monkeypatch.setattr(packages, "codename", lambda: "sarge")
    with pytest.raises(LabError, match=r"sarge offers no QEMU 7\.2"):
        packages.qemu("7.2")


def test_shared_libraries_exist_and_hold_the_loader() -> None:
    libraries = packages.shared_libraries(Path("/bin/sh").resolve())
    assert all(path.is_absolute() and path.exists() for path in libraries)
    assert any(path.name.startswith("ld-linux") for path in libraries)
    assert any(path.name == "libc.so.6" for path in libraries)


@pytest.mark.parametrize("own_c_library", [False, True])
def test_an_unpacked_qemu_is_started_with_its_own_libraries(cache: Path, own_c_library: bool) -> None:
    root = cache / "qemu-11.1"
    libraries, program = root / "usr/lib/x86_64-linux-gnu", root / "usr/bin/qemu-system-x86_64"
    (libraries / "qemu").mkdir(parents=True)
    (root / "usr/share/qemu").mkdir(parents=True)
    (libraries / "libz.so.1").touch()
    loader = libraries / "ld-linux-x86-64.so.2"
    if own_c_library:
        loader.touch()
    found = packages._qemu_in(root)
    options = (str(program), "-L", str(root / "usr/share/qemu"))
    if own_c_library:
        by_loader = (str(loader), "--library-path", str(libraries), "--argv0", "qemu-system-x86_64")
        assert found.command == (*by_loader, *options)
        assert set(found.env) == {"QEMU_MODULE_DIR"}, "the environment reaches every program it starts"
    else:
        assert found.command == options
        assert found.env["LD_LIBRARY_PATH"] == str(libraries)
