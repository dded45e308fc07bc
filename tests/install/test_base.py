"""``pip install pagethrift``: the data path, streams, traces and migrations; what needs more says so."""

from __future__ import annotations

import json
import lzma
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from pagethrift.address import Address
from pagethrift.sockets import listen
from pagethrift.stream.image import image
from tests.install.conftest import CLEAN, COMMAND_S, ROOT, Installed

EXTRA = ""
TRACE = ROOT / "traces/idle.parquet"
SPECIFICATION = f'traces = ["{TRACE}"]\nbandwidths = ["1Gbit"]\nstrategies = [{{ name = "kvm-default" }}]\n'


@pytest.fixture(scope="module")
def stream() -> bytes:
    """What a QEMU 10.0 sent."""
    return lzma.decompress((ROOT / "tests/golden/qemu-10.0-q35.xz").read_bytes())


def test_the_overview_lists_every_command(installed: Installed) -> None:
    said = installed.ok("--help").decode()
    for command in (
        "thin",
        "inspect",
        "relay",
        "migrate",
        "record",
        "simulate",
        "sweep",
        "replay",
        "lab",
        "report",
    ):
        assert f" {command} " in said


@pytest.mark.parametrize("command", ["migrate", "record", "replay", "relay", "thin", "inspect", "simulate"])
def test_help_needs_no_extra(installed: Installed, command: str) -> None:
    assert f"pagethrift {command}" in installed.ok(command, "--help").decode()


def test_thin_leaves_the_same_image_in_fewer_bytes(installed: Installed, stream: bytes) -> None:
    thinned = installed.ok("thin", input=stream)
    assert len(thinned) < len(stream)
    assert np.array_equal(image(thinned).memory, image(stream).memory)


def test_inspect_finds_the_guests_ram(installed: Installed, stream: bytes) -> None:
    path = installed.folder / "guest.stream"
    path.write_bytes(stream)
    found = json.loads(installed.ok("inspect", path, "--json"))
    assert (found["bytes"], found["blocks"][0]["name"]) == (len(stream), "pc.ram")


def test_a_relay_forwards_one_migration(installed: Installed, stream: bytes, folder: Path) -> None:
    near, far = Address(path=str(folder / "near")), Address(path=str(folder / "far"))
    with listen(far) as listener, socket.socket(socket.AF_UNIX) as source:
        listener.settimeout(COMMAND_S)
        process = subprocess.Popen(
            installed.command("relay", "--listen", f"unix:{near.path}", "--connect", f"unix:{far.path}"),
            env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            source.connect(near.path)
            sender = threading.Thread(target=_send_all, args=(source, stream), daemon=True)
            sender.start()
            destination, _ = listener.accept()
            with destination:
                destination.settimeout(COMMAND_S)
                arrived = b"".join(iter(lambda: destination.recv(1 << 20), b""))
            assert process.wait(COMMAND_S) == 0, said + process.stdout.read()
        finally:
            process.kill()
            process.wait()
    assert len(arrived) < len(stream)
    assert np.array_equal(image(arrived).memory, image(stream).memory)


def _send_all(source: socket.socket, stream: bytes) -> None:
    source.sendall(stream)
    source.shutdown(socket.SHUT_WR)


def test_simulate_writes_a_result(installed: Installed) -> None:
    path = installed.folder / "result.json"
    installed.ok("simulate", TRACE, "--bandwidth", "1Gbit", "--out", path)
    assert json.loads(path.read_text())["outcome"] == "completed"


def test_strategies_are_listed(installed: Installed) -> None:
    assert "pagethrift" in installed.ok("strategies", "--json").decode()


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("report", ["results", "--out", "page.html"]),
        ("report", ["results", "--plots", "figures"]),
        ("sweep", ["sweep.toml", "--out", "sweep"]),
        ("lab", ["doctor"]),
        ("lab", ["run", "--help"]),
    ],
)
def test_what_needs_an_extra_says_so_in_one_line(
    installed: Installed, extra: str, arguments: list[str]
) -> None:
    (installed.folder / "sweep.toml").write_text(SPECIFICATION)
    (installed.folder / "results").mkdir(exist_ok=True)
    installed.ok("simulate", TRACE, "--bandwidth", "1Gbit", "--out", "results/one.json")
    done = installed.run(extra, *arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "pip install" in lines[0]
    assert f"[{extra}]'" in lines[0]
