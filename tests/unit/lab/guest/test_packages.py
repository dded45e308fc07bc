"""The cache of unpacked packages: with a stand-in for apt, and with what this machine has."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest import packages


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_folder_follows_the_environment(cache: Path) -> None:
    assert packages.cache_dir() == cache
    assert cache.is_dir()


def test_concurrent_calls_fill_once(cache: Path) -> None:
    calls = []

    def fill(folder: Path) -> dict[str, object]:
        calls.append(folder)
        time.sleep(0.1)
        (folder / "payload").write_text("x")
        return {"n": len(calls)}

    threads = [threading.Thread(target=packages._cached, args=("thing", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert json.loads((packages._cached("thing", fill) / "complete.json").read_text()) == {"n": 1}


def test_an_interrupted_fill_is_done_again_from_nothing(cache: Path) -> None:
    def broken(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("x")
        raise LabError("cut")

    with pytest.raises(LabError):
        packages._cached("thing", broken)
    folder = packages._cached("thing", lambda _: {})
    assert not (folder / "half").exists()


def test_nothing_is_fetched_when_not_allowed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_apt_options", lambda: pytest.fail("went to apt"))
    with pytest.raises(LabError, match="not in"):
        packages.kernel(fetch=False)


def test_qemu_of_an_unknown_release_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagethrift.lab.guest.packages.shutil.which", lambda name: None)
    monkeypatch.setattr(packages, "_codename", lambda: "sarge")
    with pytest.raises(LabError, match=r"sarge offers no QEMU 7\.2"):
        packages.qemu("7.2")


def test_missing_program_and_failing_program_are_lab_errors() -> None:
    with pytest.raises(LabError, match="program no-such-program is missing"):
        packages._run(["no-such-program"], what="trying")
    with pytest.raises(LabError, match="E: broken"):
        packages._run(["sh", "-c", "(echo noise; echo E: broken; echo more) >&2; exit 100"], what="trying")


def test_shared_libraries_exist_and_hold_the_loader() -> None:
    libraries = packages.shared_libraries(Path("/bin/sh").resolve())
    assert all(path.is_absolute() and path.exists() for path in libraries)
    assert any(path.name.startswith("ld-linux") for path in libraries)
    assert any(path.name == "libc.so.6" for path in libraries)


def test_a_lock_excludes_another_process(cache: Path) -> None:
    code = "from pagethrift.lab.guest.packages import locked\nwith locked('x'): print('in', flush=True)"
    with packages.locked("x"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.7)
    assert other.communicate(timeout=20)[0] == b"in\n"
