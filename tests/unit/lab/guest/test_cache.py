"""The cache folder: made once, by whoever comes first, and whole or not at all."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pagethrift.errors import LabError
from pagethrift.lab.guest.cache import cache_dir, cached, kept_facts, locked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAGETHRIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_folder_follows_the_environment(cache: Path) -> None:
    assert cache_dir() == cache
    assert cache.is_dir()


def test_concurrent_calls_fill_once(cache: Path) -> None:
    calls = []

    def fill(folder: Path) -> dict[str, object]:
        calls.append(folder)
        time.sleep(0.1)
        (folder / "payload").write_text("x")
        return {"n": len(calls)}

    threads = [threading.Thread(target=cached, args=("thing", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert kept_facts(cached("thing", fill)) == {"n": 1}
    assert kept_facts(cache) == {}


def test_an_interrupted_fill_is_done_again_from_nothing(cache: Path) -> None:
    def broken(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("x")
        raise LabError("cut")

    with pytest.raises(LabError):
        cached("thing", broken)
    folder = cached("thing", lambda _: {})
    assert not (folder / "half").exists()


def test_a_lock_excludes_another_process(cache: Path) -> None:
    code = "from pagethrift.lab.guest.cache import locked\nwith locked('x'): print('in', flush=True)"
    with locked("x"):
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.7)
    assert other.communicate(timeout=20)[0] == b"in\n"
