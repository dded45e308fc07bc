"""contrib/exchange: sockets of others are exchanged for the service's, and only those that should be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exchanging import SCRIPT, ExchangeProcess
from tests.proxies import unix_listener

QUICK = ("--every", "0.01")


@pytest.fixture
def slots(folder: Path) -> Iterator[list[socket.socket]]:
    """The sockets of a service with two slots."""
    (folder / "slots").mkdir()
    (folder / "run").mkdir()
    found = [unix_listener(folder / f"slots/{number}.in") for number in range(2)]
    yield found
    for each in found:
        each.close()


def exchange(folder: Path, *more: str) -> ExchangeProcess:
    return ExchangeProcess(f"{folder}/slots", f"{folder}/run/{{}}.migrate", *QUICK, *more)


def reached(path: Path, listener: socket.socket) -> bool:
    """Whether a connection to a path comes to a listener."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.settimeout(0.2)
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            return False
        accepted.close()
        return True


def wait_until_gone(path: Path) -> None:
    deadline_s = time.monotonic() + 10
    while os.path.lexists(path):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_who_connects_reaches_the_service_which_reaches_the_manager(
    folder: Path, slots: list[socket.socket]
) -> None:
    path = folder / "run/100.migrate"
    with unix_listener(path) as theirs, exchange(folder) as process:
        process.wait_for(f"{path}: through 0.in")
        assert reached(path, slots[0])
        assert reached(folder / "slots/0.out", theirs)
        assert sorted(each.name for each in path.parent.iterdir()) == ["100.migrate"]


def test_a_slot_is_free_again_when_the_manager_removes_its_socket(
    folder: Path, slots: list[socket.socket]
) -> None:
    path = folder / "run/100.migrate"
    with exchange(folder) as process:
        for _ in range(3):
            process.said.clear()
            with unix_listener(path):
                process.wait_for(f"{path}: through 0.in")
                path.unlink()
            wait_until_gone(folder / "slots/0.out")


def test_a_socket_whose_manager_has_died_is_removed(folder: Path, slots: list[socket.socket]) -> None:
    path = folder / "run/100.migrate"
    with exchange(folder) as process:
        with unix_listener(path):
            process.wait_for(f"{path}: through 0.in")
        wait_until_gone(path)
        wait_until_gone(folder / "slots/0.out")


def test_without_a_free_slot_a_socket_stays_the_managers(folder: Path, slots: list[socket.socket]) -> None:
    paths = [folder / f"run/{number}.migrate" for number in range(3)]
    listeners = [unix_listener(path) for path in paths]
    with exchange(folder) as process:
        process.wait_for(f"{paths[2]}: no slot is free; it migrates without pagethrift")
        assert reached(paths[2], listeners[2])
    for each in listeners:
        each.close()
    assert process.said.count(f"{paths[2]}: no slot is free; it migrates without pagethrift") == 1


def test_sockets_that_are_not_to_be_exchanged(folder: Path, slots: list[socket.socket]) -> None:
    """No condition, another name, a dead one, a link, a file; one that is shows that it has looked."""
    run = folder / "run"
    slots[0].close()  # a service's dead slot
    left = [unix_listener(run / name) for name in ("100.migrate", "300_nbd.other", "elsewhere")]
    unix_listener(run / "400.migrate").close()
    (run / "500.migrate").symlink_to(run / "elsewhere")
    (run / "600.migrate").touch()
    for number in (200, 400, 500, 600):
        (run / f"{number}.conf").touch()
    with unix_listener(run / "700.migrate"), exchange(folder, "--only-if", "{}.conf") as process:
        (run / "700.conf").touch()
        process.wait_for(f"{run}/700.migrate: through 1.in")
        for listener, name in zip(left, ("100.migrate", "300_nbd.other", "elsewhere"), strict=True):
            assert reached(run / name, listener)
        assert (run / "500.migrate").is_symlink()
        assert (run / "600.migrate").is_file()
        assert process.said == [f"{run}/700.migrate: through 1.in"]
    for each in left:
        each.close()


def test_a_folder_that_is_a_link_is_not_entered(folder: Path, slots: list[socket.socket]) -> None:
    """A pod may put a link in the place of its folder: the program runs as root."""
    (folder / "pods/evil").mkdir(parents=True)
    (folder / "pods/good/proxy").mkdir(parents=True)
    (folder / "pods/evil/proxy").symlink_to(folder / "run")
    bait, good = folder / "run/1.sock", folder / "pods/good/proxy/1.sock"
    with (
        unix_listener(bait) as listener,
        unix_listener(good),
        ExchangeProcess(f"{folder}/slots", f"{folder}/pods/*/proxy/{{}}.sock", *QUICK) as process,
    ):
        process.wait_for(f"{good}: through 0.in")
        assert reached(bait, listener)


def test_it_waits_for_the_service(folder: Path) -> None:
    (folder / "run").mkdir()
    path = folder / "run/100.migrate"
    with unix_listener(path), exchange(folder) as process:
        time.sleep(0.1)
        assert process.process.poll() is None
        (folder / "slots").mkdir()
        with unix_listener(folder / "slots/0.in"):
            process.wait_for(f"{path}: through 0.in")


def test_data_passes_both_ways(folder: Path, slots: list[socket.socket]) -> None:
    path = folder / "run/100.migrate"
    with unix_listener(path) as theirs, exchange(folder) as process:
        process.wait_for(f"{path}: through 0.in")

        def serve() -> None:
            near, _ = slots[0].accept()
            with near, socket.socket(socket.AF_UNIX) as far:
                far.connect(str(folder / "slots/0.out"))
                far.sendall(near.recv(10))
                near.sendall(far.recv(10))

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"out")
            accepted, _ = theirs.accept()
            with accepted:
                assert accepted.recv(10) == b"out"
                accepted.sendall(b"back")
                assert client.recv(10) == b"back"
        thread.join(10)


@pytest.mark.parametrize("pattern", ["/run/100.migrate", "/run/{}/a.sock", "/run/{}{}.migrate"])
def test_a_pattern_that_names_no_migration_is_refused(pattern: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "/slots", pattern], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "needs {} once, in its last part" in done.stderr


def test_help_has_an_example() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "Example: exchange.py" in " ".join(done.stdout.split())
