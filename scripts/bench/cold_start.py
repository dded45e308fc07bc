"""``python -m scripts.bench.cold_start``: seconds from starting a command to its first byte out.

Kernels are those that set-up built, or from Numba's cache (machine: kernels); with root the kernel's
page cache is dropped before every second start, as after a reboot.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench import machine, output
from scripts.bench.pipes import STALL_S
from scripts.bench.rounds import spread

from pagethrift.stream.synthetic import StreamBuilder

THIN = str(Path(sys.executable).parent / "pagethrift")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def short_stream() -> bytes:
    """Return a whole stream of 64 pages."""
    builder = StreamBuilder([("pc.ram", 64)])
    builder.begin_body()
    for page in range(64):
        builder.page(0, page, os.urandom(4096))
    builder.end_body()
    builder.begin_body(last=True)
    builder.end_body()
    return builder.finish()


def thin_start(stream: bytes) -> float:
    """Start ``thin``, feed it at once; return the seconds to its first byte."""
    began_s = time.monotonic()
    with subprocess.Popen([THIN, "thin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stream)
        process.stdin.close()
        process.stdout.read(1)
        took_s = time.monotonic() - began_s
        process.stdout.read()
    _require(process.returncode == 0, "thin failed")
    return took_s


def relay_start(stream: bytes) -> float:
    """Start ``relay``, connect as soon as it listens; return the seconds to its first byte on the link."""
    with (
        tempfile.TemporaryDirectory(prefix="ptc") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        path = Path(folder, "relay")
        server.settimeout(STALL_S)
        began_s = time.monotonic()
        command = [
            THIN,
            "relay",
            "--listen",
            f"unix:{path}",
            "--connect",
            f"127.0.0.1:{server.getsockname()[1]}",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            source = _connected(path, began_s + STALL_S)
            with source:
                source.sendall(stream)
                source.shutdown(socket.SHUT_WR)
                destination, _ = server.accept()
                with destination:
                    destination.recv(1)
                    took_s = time.monotonic() - began_s
                    while destination.recv(1 << 20):
                        pass
            _require(process.wait(STALL_S) == 0, "relay failed")
    return took_s


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def _connected(path: Path, until_s: float) -> socket.socket:
    while True:
        source = socket.socket(socket.AF_UNIX)
        try:
            source.connect(str(path))
            return source
        except OSError:
            source.close()
            if time.monotonic() > until_s:
                raise
            time.sleep(0.002)


def measure(starts: int, show: Callable[[str], None]) -> dict[str, Any]:
    """Return the result document: both commands, page cache warm and (with root) dropped."""
    stream = short_stream()
    commands = {"thin": thin_start, "relay": relay_start}
    caches = ("warm", "dropped") if os.access(DROP_CACHES, os.W_OK) else ("warm",)
    taken: dict[str, list[float]] = {
        f"{name}, page cache {cache}": [] for cache in caches for name in commands
    }
    for _ in range(starts):
        for cache in caches:
            for name, start in commands.items():
                if cache == "dropped":
                    os.sync()
                    DROP_CACHES.write_text("3\n")
                taken[f"{name}, page cache {cache}"].append(start(stream))
    figures = {name: spread(values) for name, values in taken.items()}
    for name, figure in figures.items():
        show(f"{name:28} {figure['median']:.2f} s ({figure['min']:.2f} to {figure['max']:.2f})")
    return {
        "kind": "pagethrift-bench-cold-start", "version": 1, "machine": machine.facts(),
        "load": machine.load(), "first_byte_s": figures,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.cold_start", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/bench-cold-start.json"))
    parser.add_argument("--starts", type=int, default=5, help="of each command")
    options = parser.parse_args(arguments)
    output.write_json(options.out, measure(options.starts, print))
    print(options.out)


if __name__ == "__main__":
    main()
